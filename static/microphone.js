/**
 * The microphone, from permission to 20 ms frames of 16 kHz s16le.
 *
 * Echo cancellation is asked for: without it the agent would hear and interrupt itself.
 */

/** @typedef {"mic-refused" | "mic-none" | "mic-busy" | "mic-insecure" | "mic-failed"} MicProblem */

export class MicError extends Error {
  /** @param {MicProblem} problem */
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

/** @param {unknown} error what getUserMedia threw @returns {MicProblem} */
export function micProblem(error) {
  switch (error instanceof Error || error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return "mic-refused";
    case "NotFoundError":
    case "OverconstrainedError":
      return "mic-none";
    case "NotReadableError":
    case "AbortError":
      return "mic-busy";
    default:
      return "mic-failed";
  }
}

const WISHES = {
  audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  video: false,
};

export class Microphone {
  /**
   * @param {AudioContext} context
   * @param {{frame: (pcm: ArrayBuffer, level: number) => void, lost: () => void}} events
   * @returns {Promise<Microphone>}
   * @throws {MicError}
   */
  static async open(context, events) {
    if (!globalThis.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new MicError("mic-insecure");
    /** @type {MediaStream | undefined} */
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(WISHES);
      await context.audioWorklet.addModule(new URL("./capture.worklet.js", import.meta.url));
      return new Microphone(context, stream, events);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      throw new MicError(micProblem(error));
    }
  }

  /**
   * @param {AudioContext} context @param {MediaStream} stream
   * @param {{frame: (pcm: ArrayBuffer, level: number) => void, lost: () => void}} events
   */
  constructor(context, stream, events) {
    this.stream = stream;
    [this.track] = stream.getAudioTracks();
    this.source = context.createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(context, "parley-capture", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => events.frame(data.pcm, data.level);
    this.track.onended = () => events.lost(); // unplugged, or the permission was taken back
    this.source.connect(this.node);
  }

  /** @param {boolean} enabled false: the system itself sends silence, and shows that it does */
  setEnabled(enabled) {
    this.track.enabled = enabled;
  }

  close() {
    this.track.onended = null;
    this.node.port.onmessage = null;
    this.source.disconnect();
    this.stream.getTracks().forEach((track) => track.stop());
  }
}
