/* Copyright (C) Conduit for NGINX authors */

/*
 * The doorbell: tells when a key that was read has changed.
 *
 * Two links to one server: the reader, on which keys are read, and the bell, to
 * which the server sends the names of the keys that were read and have changed
 * since (CLIENT TRACKING with REDIRECT).  One change rings once; reading the
 * key again arms it again.
 *
 *   bell    connect, CLIENT ID, SUBSCRIBE __redis__:invalidate
 *   reader  connect
 *   both    CLIENT TRACKING ON REDIRECT <the bell's ID>  ->  up
 *
 * There is no order between the two connections: a ring may overtake the reply
 * of the read that armed it.  The owner keeps a "dirty" flag for that.  Nothing
 * is read before the bell's subscription is confirmed, as an invalidation
 * without a subscriber is lost.  After either link was lost all keys must be
 * read again.
 *
 * If the server has no tracking, or refuses it several times in a row (behind a
 * balancer the two links may end at two servers), the doorbell is up without a
 * bell, and keys have to be polled.  After refusals tracking is tried again
 * every 15 seconds; when it works, up() is called, and all keys must be read
 * once more.
 */

#ifndef NGX_CONDUIT_DOORBELL_H
#define NGX_CONDUIT_DOORBELL_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_link.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_doorbell_s  ngx_conduit_doorbell_t;

typedef void (*ngx_conduit_doorbell_pt)(void *data);
typedef void (*ngx_conduit_ring_pt)(void *data, u_char *key, size_t len);

struct ngx_conduit_doorbell_s {
    /* the owner sets these before ngx_conduit_doorbell_open() */
    ngx_conduit_redis_t      *redis;
    void                     *data;
    ngx_uint_t                poll;     /* no tracking wanted */

    /* keys can be read: the owner must now read all of them */
    ngx_conduit_doorbell_pt   up;
    /* keys can't be read, or changes would not be reported */
    ngx_conduit_doorbell_pt   down;
    /* the doorbell is up, but a reply is later than a command's timeout */
    ngx_conduit_doorbell_pt   slow;
    /* the key has changed; NULL: any key may have */
    ngx_conduit_ring_pt       ring;

    /* keys are read on this link while up; polling is for the owner, too */
    ngx_conduit_link_t        reader;
    unsigned                  is_up:1;
    unsigned                  polling:1;  /* no key rings: poll */

    /* private */
    unsigned                  opened:1;
    unsigned                  subscribed:1;
    unsigned                  probing:1;  /* the bell has to confirm
                                             SUBSCRIBE */
    unsigned                  binding:1;  /* CLIENT TRACKING was sent */
    unsigned                  bind_again:1;      /* it is for an old bell */
    unsigned                  retry_tracking:1;  /* polls after refusals */
    unsigned                  trial:1;    /* such a try is under way */
    ngx_uint_t                refusals;   /* of CLIENT TRACKING, in a row */
    ngx_msec_t                tried_at;
    ngx_conduit_link_t        bell;
    long long                 bell_id;
    ngx_msec_t                probed_at;
    ngx_event_t               probe_timer;
};


/* Opens the links; up() follows.  Does nothing on an open doorbell. */
void ngx_conduit_doorbell_open(ngx_conduit_doorbell_t *db);

/*
 * Closes the links for good; down() is not called.  Never to be called from a
 * reply handler.
 */
void ngx_conduit_doorbell_close(ngx_conduit_doorbell_t *db);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_DOORBELL_H */
