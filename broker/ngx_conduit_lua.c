/* Copyright (C) Conduit for NGINX authors */

/*
 * Lua scripts for Redis.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_sha1.h>

#include "ngx_conduit_lua.h"


void
ngx_conduit_lua_call(ngx_conduit_lua_t *script, ngx_uint_t loading,
    ngx_uint_t nkeys, const char **argv, size_t *argvlen)
{
    u_char      digest[20];
    ngx_sha1_t  sha1;

    static const char  digits[] = "0123456789";

    if (loading) {
        argv[0] = "EVAL";
        argv[1] = script->text;
        argvlen[1] = script->len;

    } else {

        if (script->sha[0] == '\0') {
            ngx_sha1_init(&sha1);
            ngx_sha1_update(&sha1, script->text, script->len);
            ngx_sha1_final(digest, &sha1);
            ngx_hex_dump((u_char *) script->sha, digest, sizeof(digest));
        }

        argv[0] = "EVALSHA";
        argv[1] = script->sha;
        argvlen[1] = NGX_CONDUIT_SHA_LEN;
    }

    argvlen[0] = ngx_strlen(argv[0]);

    argv[2] = &digits[nkeys];
    argvlen[2] = 1;
}
