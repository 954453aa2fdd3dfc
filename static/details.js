/**
 * What the server says went wrong, in the page's language.
 *
 * Its errors are English sentences. Those that people meet often are translated; another is shown as it came.
 */
import { t } from "./words.js";

/** @type {[RegExp, string][]} */
const DETAILS = [
  [/^The email or the password is wrong/, "login"],
  [/^There is an account with this email/, "email-taken"],
  [/^There is an account with this username|^This username is taken/, "username-taken"],
  [/^This email is taken/, "email-taken"],
  [/^The password is too short: at least (?<n>\d+)/, "password-short"],
  [/^The password is too long: at most (?<n>\d+)/, "password-long"],
  [/^The password must not be all digits/, "password-digits"],
  [/^This password is too common/, "password-common"],
  [/^The password must not contain/, "password-name"],
  [/^Too many requests: try again in (?<n>\d+) s/, "too-often"],
  [/current password|^The password is wrong/i, "password-wrong"],
  [/must be an email address/, "email-form"],
  [/^New accounts are not made here/, "closed"],
  [/^There is no such (talk|conversation)/, "no-talk"],
  [/^Nobody else could administer/, "last-admin-role"],
  [/^This link is not good/, "link"],
  [/^This server sends no mail/, "no-mail"],
  [/^You are the only administrator/, "last-admin"],
  [/ is already taken\. |^Nothing is free on /, "slot-taken"],
  [/ is in the past\. /, "slot-past"],
  [/^That appointment (was on|has been cancelled)/, "slot-over"],
  [/must be a phone number of/, "phone"],
  [/^The server answered with an error \((?<status>\d+)\)/, "status"],
  [/^Log in first|^This token is not valid/, "login-first"],
];

/** @param {string} detail @returns {string} */
export function plainDetail(detail) {
  for (const [pattern, name] of DETAILS) {
    const found = pattern.exec(detail);
    if (found) return t(`detail.${name}`, found.groups);
  }
  return detail;
}
