# Copyright (C) Conduit for NGINX authors
