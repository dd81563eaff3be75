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
 * is read before the bell's subscription is confirmed, as a ring without a
 * listener is lost.  After a loss of either link all keys must be read again.
 *
 * Where the server has no tracking, or refuses it several times in a row (the
 * two links of a balancer may end at two servers), the doorbell is up without
 * a bell, and keys have to be polled.  A server that has refused is tried again
 * now and then; when tracking works, up() tells to read all keys once more.
 */

#ifndef NGX_CONDUIT_DOORBELL_H
#define NGX_CONDUIT_DOORBELL_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_link.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_doorbell_s  ngx_conduit_doorbell_t;

struct ngx_conduit_doorbell_s {
    /* the owner sets these before ngx_conduit_doorbell_open() */
    ngx_conduit_redis_t  *redis;
    void                 *data;
    ngx_uint_t            poll;     /* no tracking wanted */

    /* keys may be read, and all must be, now */
    void                (*up)(void *data);
    /* no key can be read, or no change would ring */
    void                (*down)(void *data);
    /* it is up, but a reply takes longer than a command is given */
    void                (*slow)(void *data);
    /* the key has changed; NULL: all may have */
    void                (*ring)(void *data, u_char *key, size_t len);

    /* to read on while up; the owner may ask, too, whether it polls */
    ngx_conduit_link_t    reader;
    unsigned              is_up:1;
    unsigned              polling:1;  /* nothing rings: ask now and then */

    /* private */
    unsigned              opened:1;
    unsigned              subscribed:1;
    unsigned              probing:1;  /* the bell was asked for a sign */
    unsigned              binding:1;  /* CLIENT TRACKING under way */
    unsigned              rebind:1;   /* the bell changed meanwhile */
    unsigned              refused:1;  /* is why it polls: tried again */
    unsigned              trial:1;    /* that is under way: polls and binds */
    ngx_uint_t            refusals;   /* of CLIENT TRACKING, in a row */
    ngx_msec_t            tried;
    ngx_conduit_link_t    bell;
    long long             bell_id;
    ngx_msec_t            probed;
    ngx_event_t           probe_timer;
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
