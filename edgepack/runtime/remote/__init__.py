"""Another machine over the system's ssh: how it is reached, what it is, what runs there.

ssh itself reads the user's configuration, so aliases, jump hosts and agents work by themselves.
On the device a POSIX shell, ``tar`` and either Python with onnxruntime or nothing at all will do:
in the second case our C programs and the runtime library travel there.
"""
