/* Copyright (C) Conduit for NGINX authors */

/*
 * The result of verifying a publisher's token.  A token is verified once in a
 * request, by a variable or by the content handler, whichever needs it first.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"


static void ngx_conduit_publish_token_cleanup(void *data);


ngx_int_t
ngx_conduit_publish_verified(ngx_http_request_t *r, ngx_conduit_ids_t *ids,
    ngx_uint_t channel, ngx_uint_t verify)
{
    ngx_str_t                        token;
    const char                      *err;
    conduit_jwt_claims_t            *claims;
    ngx_conduit_verified_t          *v;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    v = ngx_conduit_publish_token(r, verify);

    if (v == NULL) {
        return verify ? NGX_ERROR : NGX_DECLINED;
    }

    if (!ngx_conduit_conf_verified(&plcf->common, plcf->org_claim, v)) {

        if (!verify || ngx_conduit_http_bearer(r, &token) != NGX_OK) {
            return NGX_DECLINED;
        }

        (void) ngx_conduit_conf_verify(r, &plcf->common, &token,
                                       plcf->org_claim, v);
    }

    if (v->status != CONDUIT_JWT_OK) {
        return NGX_DECLINED;
    }

    claims = &v->claims;

    if (claims->has_org && !channel && (!plcf->org_claim || v->busy)) {
        ids->org = claims->org_id;
        return NGX_OK;
    }

    /*
     * A token is valid for all channels, and unless its org_id is checked, for
     * all organizations: the ids are those of the request.  Evaluating them may
     * lead here again, if "conduit_publish_org_id" or
     * "conduit_publish_channel_id" use $conduit_verified_*.
     */

    if (v->busy) {
        return NGX_DECLINED;
    }

    v->busy = 1;

    err = ngx_conduit_http_ids(r, &plcf->common, ids);

    v->busy = 0;

    if (err != NULL || (plcf->org_claim && claims->org_id != ids->org)) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_conduit_verified_t *
ngx_conduit_publish_token(ngx_http_request_t *r, ngx_uint_t create)
{
    return ngx_conduit_http_kept(r, ngx_conduit_publish_token_cleanup,
                                 create ? sizeof(ngx_conduit_verified_t) : 0);
}


/* does nothing: ngx_conduit_http_kept() recognizes the memory by the address of
   this cleanup handler */

static void
ngx_conduit_publish_token_cleanup(void *data)
{
    /* void */
}

