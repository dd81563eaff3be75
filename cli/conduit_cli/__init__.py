# Copyright (C) Conduit for NGINX authors

"""The command "conduit": keys, tokens, messages, events, and a doctor."""
