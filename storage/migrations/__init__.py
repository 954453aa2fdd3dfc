"""How the database came to look as it does: one module per step, `mNNNN_name.py` with `apply(connection)`.

A step that has been released is never changed, so none imports `storage.schema`: that is about today.
"""
