/* Copyright (C) Conduit for NGINX authors */

/*
 * A Lua script for Redis: called by the SHA1 of its text (EVALSHA), which works
 * once Redis has seen the text.
 */

#ifndef NGX_CONDUIT_LUA_H
#define NGX_CONDUIT_LUA_H

#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_SHA_LEN  40

typedef struct {
    const char  *text;
    size_t       len;
    char         sha[NGX_CONDUIT_SHA_LEN];   /* set by the first call */
} ngx_conduit_lua_t;

#define ngx_conduit_lua(text)  { text, sizeof(text) - 1, { 0 } }


/*
 * Writes the first three arguments of a call: EVALSHA, or with loading set EVAL
 * with the text, and the number of keys, nine at most.
 */
void ngx_conduit_lua_call(ngx_conduit_lua_t *script, ngx_uint_t loading,
    ngx_uint_t nkeys, const char **argv, size_t *argvlen);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LUA_H */
