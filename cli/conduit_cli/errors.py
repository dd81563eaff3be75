# Copyright (C) Conduit for NGINX authors

"""How a command fails: one line on stderr, and an exit code."""

OK = 0
NEGATIVE = 1        # the answer is no: a token is not valid, doctor found a
                    # fault, a program that pipe ran has failed
USAGE = 2           # arguments, settings, files
TOKEN = 3           # the server does not take the token
REFUSED = 4         # the server does not take the request
UNREACHABLE = 5     # no server: name, connection, TLS; nothing was stored
LATER = 6           # rate limit or outage; nothing was stored
UNKNOWN = 7         # the message may have been stored
INTERRUPTED = 130   # by SIGINT: the code that a shell reports for it


class Failure(Exception):
    """Ends the command: the line to print, and the exit code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
        self.text = " ".join(str(text).split())
