"""The command "conduit": keys, tokens, messages, events, and a doctor."""
