/*
 * The gateway's engine: a worker's hub holds channels, a channel holds frames
 * and subscribers.
 *
 *   hub            one deployment of Redis, the worker's timers
 *     shard        one server of it, one doorbell
 *       channel    one Redis stream: a cursor, a window of recent frames
 *         frame    one entry as the bytes of its event, made once, shared
 *         sub      one SSE response: a position in the stream, and its pace
 *
 * Every entry of the stream after channel.floor up to channel.cursor is in the
 * window (but for entries that are no messages).  A subscriber whose position
 * is not below the floor is served from memory; one below it is served by reads
 * of its own stretch (a batch), which all subscribers in that stretch share,
 * until it meets the window.
 *
 * A subscriber stands in one of its channel's queues:
 *
 *   opening   has a position that is being looked up: it came with it, or the
 *             entry there is gone
 *   waiting   has all there is
 *   ready     has frames of the window to send, at the hub's next turn
 *   behind    is below the floor, waits for a batch
 *   reading   has frames of the batch to send, at the hub's next turn
 *   blocked   its socket is full; goes on from its position afterwards
 */

#ifndef NGX_CONDUIT_GATEWAY_H
#define NGX_CONDUIT_GATEWAY_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_id.h"
#include "ngx_conduit_doorbell.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_roster.h"
#include "ngx_conduit_schedule.h"
#include "ngx_conduit_stream.h"
#include "ngx_conduit_topology.h"

/* the one name here that NGINX looks up in the .so */
extern ngx_module_t  ngx_conduit_gateway_module;

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_hub_s      ngx_conduit_hub_t;
typedef struct ngx_conduit_shard_s    ngx_conduit_shard_t;
typedef struct ngx_conduit_channel_s  ngx_conduit_channel_t;
typedef struct ngx_conduit_sub_s      ngx_conduit_sub_t;
typedef struct ngx_conduit_out_s      ngx_conduit_out_t;

/* what the directives of a location say about streaming */
typedef struct {
    ngx_msec_t              poll;          /* 0: tracking */
    ngx_uint_t              read_count;
    size_t                  window;
    size_t                  buffer_size;
    ngx_msec_t              retry;
    ngx_msec_t              keepalive;     /* 0: off */
    ngx_msec_t              outage;
    ngx_msec_t              drain;
    ngx_msec_t              max_duration;  /* 0: off */
    ngx_uint_t              after_end;     /* ngx_conduit_after_end_e */
    ngx_uint_t              drain_event;   /* ngx_conduit_drain_event_e */
} ngx_conduit_gateway_settings_t;

/* what a client gets that comes back after the END of its stream */
typedef enum {
    NGX_CONDUIT_AFTER_END_WAIT = 0,        /* what may follow */
    NGX_CONDUIT_AFTER_END_STOP             /* 204 */
} ngx_conduit_after_end_e;

/* who is sent server_draining before a response that ends early */
typedef enum {
    NGX_CONDUIT_DRAIN_EVENT_AUTO = 0,      /* whose token would be refused */
    NGX_CONDUIT_DRAIN_EVENT_ON,            /* all */
    NGX_CONDUIT_DRAIN_EVENT_OFF            /* nobody */
} ngx_conduit_drain_event_e;

/* ms, the "retry" of the event that tells of an outage, of the contract */
#define NGX_CONDUIT_OUTAGE_RETRY  3000

/* why a response ended */
typedef enum {
    NGX_CONDUIT_CLOSE_CLIENT = 0,
    NGX_CONDUIT_CLOSE_END,
    NGX_CONDUIT_CLOSE_DRAIN,
    NGX_CONDUIT_CLOSE_OUTAGE,
    NGX_CONDUIT_CLOSE_EXPIRED,
    NGX_CONDUIT_CLOSE_DURATION,
    NGX_CONDUIT_CLOSE_TIMEOUT,
    NGX_CONDUIT_CLOSE_ERROR
} ngx_conduit_close_e;

/* an entry as its event; counted references, freed with the last */
typedef struct {
    ngx_uint_t              refs;
    conduit_stream_id_t     id;
    ngx_uint_t              end;           /* the message ends its stream */
    size_t                  len;
    u_char                  data[1];
} ngx_conduit_frame_t;

/* frames of one stretch, in order */
typedef struct {
    ngx_conduit_frame_t   **elts;
    ngx_uint_t              nelts;
    ngx_uint_t              nalloc;
    size_t                  bytes;
} ngx_conduit_frames_t;

/* a stretch below the window, read for those who are there */
typedef struct {
    ngx_conduit_frames_t    frames;
    conduit_stream_id_t     start;
    conduit_stream_id_t     first;         /* the oldest entry not before it;
                                              0-0: none is left */
    conduit_stream_id_t     last;
    uint32_t                epoch;         /* when it was asked for */
    uint32_t                moves;         /* then */
} ngx_conduit_batch_t;

/* a frame on its way through the filters */
struct ngx_conduit_out_s {
    ngx_buf_t               buf;
    ngx_chain_t             link;
    ngx_conduit_frame_t    *frame;         /* NULL: other bytes */
    ngx_conduit_out_t      *next;
};

struct ngx_conduit_sub_s {
    ngx_queue_t             queue;         /* of its channel */
    ngx_conduit_member_t    member;        /* of the hub's roster */
    ngx_http_request_t     *request;
    ngx_conduit_channel_t  *channel;       /* NULL when detached */
    conduit_stream_id_t     pos;           /* of the last frame handed over */
    uint64_t                seq;           /* of the next frame in the window;
                                              valid when not below its base */
    conduit_stream_id_t     next;          /* of the frame after pos, valid
                                              when next_known */
    conduit_stream_id_t     earlier;       /* the client's position while pos is
                                              0-0: one of an earlier life of the
                                              stream; 0-0: it has none */
    ngx_conduit_out_t      *busy;          /* in the filters, oldest first */
    ngx_conduit_out_t     **busy_last;
    ngx_conduit_out_t      *free;
    uint64_t                bytes;
    uint32_t                events;
    uint32_t                pending;       /* bytes of busy */
    uint32_t                probe;         /* number of the look-up it needs */
    uint32_t                refused;       /* time() from which its token is;
                                              0: never */
    unsigned                close:4;       /* ngx_conduit_close_e */
    unsigned                limit:4;       /* what the deadline stands for */
    unsigned                resumed:1;     /* came with a position */
    unsigned                next_known:1;  /* fell out of the window there */
    unsigned                judged:1;      /* whether it lost anything is
                                              settled, until it sends on */
    unsigned                lost:1;        /* it did; to be told */
    unsigned                gone:1;        /* because the stream that its
                                              position is of is no more */
    unsigned                started:1;     /* the header was sent */
    unsigned                blocked:1;     /* stands in that queue */
    unsigned                losses:8;      /* how often it was told, 255 at
                                              most */
};

/* of a request to a gateway's location, in its pool, for as long as that lasts:
   internal redirects, too */
typedef struct {
    ngx_conduit_sub_t       sub;           /* sub.request is NULL before the
                                              request is a subscriber */
    ngx_str_t               token;         /* taken out of the query, on
                                              malloc(); until it is one */
    int                     taken;         /* what taking it came to, valid
                                              when looked */
    unsigned                looked:1;
    ngx_conduit_verified_t  verified;
} ngx_conduit_gateway_ctx_t;

struct ngx_conduit_channel_s {
    ngx_str_node_t          node;          /* by key */
    ngx_conduit_hub_t      *hub;
    ngx_conduit_shard_t    *shard;         /* where its stream is read */
    ngx_queue_t             all;           /* of the shard */
    ngx_conduit_task_t      turn;          /* serves those who can be */
    ngx_conduit_task_t      retry;         /* asks Redis again */

    ngx_queue_t             opening;
    ngx_queue_t             waiting;
    ngx_queue_t             ready;
    ngx_queue_t             behind;
    ngx_queue_t             reading_batch;
    ngx_queue_t             blocked;
    ngx_uint_t              nsubs;

    conduit_stream_id_t     cursor;        /* read up to here */
    uint64_t                number;        /* of the entry there, valid when
                                              numbered */
    conduit_stream_id_t     oldest;        /* entry, as a look-up said that
                                              went with a read */
    conduit_stream_id_t     floor;
    ngx_conduit_frames_t    window;
    uint64_t                base;          /* number of the oldest frame */

    conduit_stream_id_t     back;          /* entries after it, up to the lead,
                                              were seen and lost by the stream;
                                              a lead of 0-0: none */
    conduit_stream_id_t     lead;

    conduit_stream_id_t     past_from;     /* the stream's life before this one,
                                              as far as it was seen: a position
                                              from here on had all of it */
    conduit_stream_id_t     past_to;       /* and up to here; 0-0: none was
                                              seen */

    ngx_conduit_batch_t    *batch;         /* NULL: none asked for or in use */

    uint32_t                epoch;         /* lives of the stream seen */
    uint32_t                read_epoch;    /* when XREAD was sent */
    uint32_t                moves;         /* from server to server */
    uint32_t                read_moves;    /* when XREAD was sent */
    uint32_t                probe_moves;   /* when XINFO was */
    uint32_t                probes;        /* look-ups sent */
    uint32_t                holds;         /* callers that still use it */

    unsigned                spurious:3;    /* rings in a row for nothing */
    unsigned                redirects:3;   /* in a row */
    unsigned                shift:4;       /* halves of read_count */
    unsigned                lull:8;        /* polls in a row for nothing */
    unsigned                asking:1;      /* its slot is on its way: ASKING */
    unsigned                reading:1;     /* XRANGE from the cursor */
    unsigned                dirty:1;       /* rang since it was sent */
    unsigned                rung:1;        /* it was sent for a ring */
    unsigned                checked:1;     /* after a look-up */
    unsigned                catching:1;    /* XRANGE of a batch */
    unsigned                probing:1;     /* XINFO */
    unsigned                paused:3;      /* what was refused, and is asked
                                              again by the retry only */
    unsigned                ended:1;       /* an END is at the cursor; used
                                              where after_end is stop */
    unsigned                known:1;       /* the cursor is one of the stream */
    unsigned                seen:1;        /* so was its entry: it is not only
                                              what a subscriber said */
    unsigned                kept:1;        /* its entry is there */
    unsigned                numbered:1;
    unsigned                check:1;       /* what follows the cursor may have
                                              gone: look before reading */
    unsigned                complained:1;  /* an error reply was logged */
    unsigned                swept:1;       /* read though nothing rang */
    unsigned                compare:1;     /* the window may have what the
                                              stream has not: read all of it */
    unsigned                comparing:1;   /* XREAD was sent for that */
};

/* shows that what is written to a server comes back by its doorbell */
typedef struct {
    ngx_str_t               key;           /* empty before the first */
    conduit_stream_id_t     last;          /* entry seen */
    ngx_msec_t              sent;
    ngx_msec_t              proof;         /* when one was sent that came back;
                                              0: none has */
    unsigned                pending:1;     /* one is on its way */
    unsigned                failed:1;      /* a part of it was refused */
    unsigned                refused:1;     /* an error was logged */
    u_char                  name[sizeof("conduit:canary:0123456789abcdef")];
} ngx_conduit_canary_t;

/* what a worker reads from one server */
struct ngx_conduit_shard_s {
    ngx_conduit_hub_t              *hub;
    ngx_conduit_node_t             *node;          /* NULL: of the channels
                                                      whose server is not
                                                      known */
    ngx_conduit_doorbell_t          doorbell;      /* never opened then, so
                                                      that nothing is asked */
    ngx_queue_t                     channels;      /* as swept */
    ngx_uint_t                      nchannels;
    ngx_uint_t                      round;         /* of the poll */
    ngx_msec_t                      sweep_due;     /* channels, times ms */
    ngx_msec_t                      down_since;
    ngx_msec_t                      unused_since;  /* without channels */
    ngx_msec_t                      complained;    /* an error reply was
                                                      logged; 0: none */
    ngx_conduit_canary_t            canary;
    unsigned                        impatient:1;   /* nobody waits for Redis
                                                      before the header */
};

struct ngx_conduit_hub_s {
    ngx_conduit_redis_t            *redis;
    ngx_conduit_gateway_settings_t  settings;

    /* of a worker, from the first subscriber on */
    ngx_uint_t                      opened;
    ngx_conduit_topology_t          topology;
    ngx_conduit_shard_t             nowhere;       /* its server is unknown */
    ngx_rbtree_t                    channels;
    ngx_rbtree_node_t               sentinel;
    ngx_uint_t                      nchannels;
    ngx_conduit_schedule_t          schedule;
    ngx_conduit_roster_t            roster;
    ngx_event_t                     sweep_timer;
    ngx_event_t                     canary_timer;
    void                          (*proved)(void *data);  /* NULL: no
                                                             canaries */
    void                           *proved_data;
    ngx_msec_t                      ready;         /* when Redis was last known
                                                      to work; 0: never */
    ngx_msec_t                      oldest_proof;  /* of the servers */
    ngx_uint_t                      sick;          /* one is known to be away */
    ngx_uint_t                      draining;
    ngx_conduit_http_log_t          skips;         /* of entries */
    conduit_arena_t                *arena;         /* of the message at hand */
    conduit_buf_t                   scratch;
    conduit_buf_t                   hello;         /* first line of responses */
};


/* --- hub --- */

/*
 * Finds or makes the hub of a server and settings at configuration time; hubs
 * is an array of ngx_conduit_hub_t pointers.  Returns NULL when memory is out.
 */
ngx_conduit_hub_t *ngx_conduit_hub_get(ngx_conf_t *cf, ngx_array_t *hubs,
    ngx_conduit_redis_t *redis, ngx_conduit_gateway_settings_t *settings);

/* Makes a hub ready in a worker.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_hub_open(ngx_conduit_hub_t *hub);

/* Ends all responses at once and closes the links. */
void ngx_conduit_hub_close(ngx_conduit_hub_t *hub);

/* The worker was told to quit: moves clients away, spread over the time set. */
void ngx_conduit_hub_drain(ngx_conduit_hub_t *hub);

/* --- shard --- */

/* Makes the hub's topology and its shard of nowhere.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_shard_init(ngx_conduit_hub_t *hub);

/* Closes all doorbells; channels without subscribers go with their replies. */
void ngx_conduit_shard_close_all(ngx_conduit_hub_t *hub);

/*
 * Puts a new channel where its key is.  Returns NGX_OK, or NGX_ERROR when
 * memory is out.
 */
ngx_int_t ngx_conduit_shard_add(ngx_conduit_channel_t *ch);

/* Takes a channel out. */
void ngx_conduit_shard_remove(ngx_conduit_channel_t *ch);

/*
 * Moves a channel to where an error reply says its key is, and asks there.
 * Returns 1, or 0 when the reply does not say.
 */
ngx_uint_t ngx_conduit_shard_redirect(ngx_conduit_channel_t *ch,
    redisReply *reply);

/*
 * Whether the links are on their way up, so that an answer that needs Redis is
 * worth a little waiting.
 */
ngx_uint_t ngx_conduit_shard_connecting(ngx_conduit_shard_t *shard);

/* Calls a function for each channel; any channel may go meanwhile. */
void ngx_conduit_shard_each(ngx_conduit_shard_t *shard,
    void (*handler)(ngx_conduit_channel_t *ch));

/* Calls a function for each shard, that of nowhere included. */
void ngx_conduit_shard_all(ngx_conduit_hub_t *hub,
    void (*handler)(ngx_conduit_shard_t *shard, void *data), void *data);

/* Reads the channels that are due, of interval ms. */
void ngx_conduit_shard_sweep(ngx_conduit_shard_t *shard, ngx_msec_t interval);

/*
 * Returns the shard of a server (NULL: that of nowhere), made and opened with
 * the first call; NULL when memory is out.
 */
ngx_conduit_shard_t *ngx_conduit_shard_of(ngx_conduit_hub_t *hub,
    ngx_conduit_node_t *node);

/* --- canary --- */

/*
 * Opens the hub and keeps hub->ready from now on; proved() is called whenever
 * it was looked at.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_canary_start(ngx_conduit_hub_t *hub,
    void (*proved)(void *data), void *data);

/* A key has rung.  Returns whether it is the canary's. */
ngx_uint_t ngx_conduit_canary_ring(ngx_conduit_shard_t *shard, u_char *key,
    size_t len);

/* --- channel --- */

/*
 * Finds or makes the channel of a key; a new one starts at pos.  Returns NULL
 * when memory is out.
 */
ngx_conduit_channel_t *ngx_conduit_channel_get(ngx_conduit_hub_t *hub,
    ngx_str_t *key, conduit_stream_id_t *pos);

/*
 * Takes a subscriber in.  Returns NGX_OK: it is to be started at once;
 * NGX_AGAIN: its position is being looked up, it is started later; NGX_DONE: it
 * has seen the end of the stream, and is not taken (only where after_end is
 * stop).
 */
ngx_int_t ngx_conduit_channel_add(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);

/*
 * Lets a subscriber go.  The channel is freed with its last one, unless Redis
 * still owes it a reply: it goes with that then.
 */
void ngx_conduit_channel_remove(ngx_conduit_sub_t *sub);

/* Puts a subscriber that can write into the queue its position calls for. */
void ngx_conduit_channel_place(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);

/* The key has changed (rung), or may have: reads on from the cursor. */
void ngx_conduit_channel_ring(ngx_conduit_channel_t *ch, ngx_uint_t rung);

/* Asks whatever is to be asked: up after a loss, or again after a failure. */
void ngx_conduit_channel_ask(ngx_conduit_channel_t *ch);

/* Redis is gone: answers those who wait for a look-up. */
void ngx_conduit_channel_down(ngx_conduit_channel_t *ch);

/* Whether the channel's server is away; *away is for how many ms then. */
ngx_uint_t ngx_conduit_channel_away(ngx_conduit_channel_t *ch,
    ngx_msec_t *away);

/* --- frames --- */

/*
 * Makes a frame of an event: control, with one reference, to be sent once and
 * kept nowhere; the arguments are those of conduit_sse_write_control().
 * Returns NULL when memory is out.
 */
ngx_conduit_frame_t *ngx_conduit_frame_control(ngx_conduit_hub_t *hub,
    const char *type, const char *reason, conduit_stream_id_t *pos);

/* Writes such an event, with a random message_id. */
void ngx_conduit_control_write(const char *type, const char *reason,
    conduit_stream_id_t *pos, conduit_buf_t *b);

/*
 * Makes the frame of an entry, with one reference.  Returns NGX_OK;
 * NGX_DECLINED when the entry is no message (logged); NGX_ERROR when memory is
 * out.
 */
ngx_int_t ngx_conduit_frame_create(ngx_conduit_hub_t *hub, ngx_str_t *key,
    ngx_conduit_entry_t *entry, ngx_conduit_frame_t **frame);

void ngx_conduit_frame_release(ngx_conduit_frame_t *frame);

/* Whether the entry is a message of phase END. */
ngx_uint_t ngx_conduit_frame_is_end(ngx_conduit_hub_t *hub,
    ngx_conduit_entry_t *entry);

/* Appends a frame, taking over the reference.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_frames_push(ngx_conduit_frames_t *frames,
    ngx_conduit_frame_t *frame);

/* Drops the n oldest frames. */
void ngx_conduit_frames_drop(ngx_conduit_frames_t *frames, ngx_uint_t n);

/* Drops the newest frames, down to n. */
void ngx_conduit_frames_cut(ngx_conduit_frames_t *frames, ngx_uint_t n);

/* Drops all frames and frees the array. */
void ngx_conduit_frames_clear(ngx_conduit_frames_t *frames);

/* Returns the index of the first frame after id, or nelts. */
ngx_uint_t ngx_conduit_frames_after(ngx_conduit_frames_t *frames,
    conduit_stream_id_t *id);

/* --- subscriber --- */

/*
 * Makes a GET a subscriber of a channel, after org, channel and token were
 * checked; the subscriber is the sub of the request's context, whose cleanup
 * calls ngx_conduit_sub_release().  Its member "refused" may be set before, the
 * rest of it is zero.  pos is NULL for the whole stream.  expires is the life
 * left to the token in ms, or 0 when the response may outlive it.
 * Returns what the content handler returns.
 */
ngx_int_t ngx_conduit_sub_create(ngx_conduit_hub_t *hub,
    ngx_http_request_t *r, ngx_conduit_sub_t *sub, ngx_conduit_ids_t *ids,
    conduit_stream_id_t *pos, ngx_msec_t expires);

/*
 * Gives back what the filters have not consumed and will not: called when the
 * request's pool is destroyed, not before.
 */
void ngx_conduit_sub_release(ngx_conduit_sub_t *sub);

/*
 * Sends the response header and the first line; does nothing when that was
 * done.  Returns NGX_OK, or NGX_ERROR after ending the subscriber.
 */
ngx_int_t ngx_conduit_sub_start(ngx_conduit_sub_t *sub);

/*
 * The subscriber has seen the end of the stream, and after_end is stop: answers
 * 204, or, when the header was sent, ends the response.
 */
void ngx_conduit_sub_refuse(ngx_conduit_sub_t *sub);

/*
 * Hands frames from index *i on to the socket, until all are, or the socket is
 * full, or the stream has ended.  Frames not after the subscriber's position
 * are passed over.  Advances *i and the position.  Returns NGX_OK when all were
 * handed over, NGX_AGAIN when the socket is full, NGX_DONE when the subscriber
 * is gone.
 */
ngx_int_t ngx_conduit_sub_send(ngx_conduit_sub_t *sub,
    ngx_conduit_frames_t *frames, ngx_uint_t *i);

/*
 * The position that the client has, for the ID of events that are none of the
 * stream; 0-0: none.  It is another one than where the subscriber goes on when
 * the stream was made anew.
 */
conduit_stream_id_t *ngx_conduit_sub_position(ngx_conduit_sub_t *sub);

/* Sends a keepalive comment; the subscriber may be gone afterwards. */
void ngx_conduit_sub_ping(ngx_conduit_sub_t *sub);

/*
 * Ends the response in good order: tells when to come back, or that a new token
 * is needed for it, then the last chunk.
 */
void ngx_conduit_sub_end(ngx_conduit_sub_t *sub, ngx_conduit_close_e why);

/*
 * Whether the client is sent server_draining when its response is ended and it
 * is to come back after so many ms: by drain_event, mostly whether its token
 * would be refused then.
 */
ngx_uint_t ngx_conduit_sub_told(ngx_conduit_sub_t *sub, ngx_msec_t retry);

/*
 * Answers a good request that can't be served now, or has nobody to send events
 * to (HEAD, "post_action"): 200, a jittered "retry:", the end.  Returns what
 * the content handler returns.
 */
ngx_int_t ngx_conduit_sub_turn_away(ngx_http_request_t *r, ngx_msec_t retry);

/* "end", "client" and so on, for $conduit_gateway_close. */
const char *ngx_conduit_close_name(ngx_conduit_close_e why);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_H */
