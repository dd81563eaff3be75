/* Copyright (C) Conduit for NGINX authors */

/*
 * The operations of the model test: on its streams, its clients, its
 * connections.
 */

#ifndef MODEL_OPS_H
#define MODEL_OPS_H

#include "model_shell.h"


/* what any client of Redis may do */

static void
append_or_trim(int i)
{
    int              kind;
    model_stream_t  *s;

    s = &m.redis.now;

    if (i < 8) {
        for (i = rnd(8) ? 1 : 5; i; i--) {
            kind = rnd(16);
            model_xadd(&m.redis, kind > 2 ? MESSAGE
                                 : kind == 2 ? END : NO_MESSAGE);
        }

        say("XADD.. last " FID, ID(s->last_id));

    } else if (s->exists && s->n) {
        i = rnd(3) ? (int) rnd(s->n) : s->n;
        say("XTRIM %d of %d", i, s->n);
        model_xtrim(&m.redis, i);
    }
}


static void
disturb(int i)
{
    model_stream_t  *s;

    s = &m.redis.now;

    switch (i) {

    case 12: case 13: case 14:
        if (s->exists && s->n) {
            i = rnd(2) ? (int) rnd(s->n) : s->n - 1;
            say("XDEL " FID, ID(m.redis.id[s->list[i]]));
            model_xdel(&m.redis, i);
        }

        break;

    case 15: case 16:
        say("DEL");                 /* or it expires */
        model_del(&m.redis);
        break;

    case 17: case 18:
        m.redis.clock -= rnd(m.redis.clock < 12 ? m.redis.clock : 12);
        say("clock %d", (int) m.redis.clock);
        break;

    case 19: case 20:
        say("DUMP");
        model_dump(&m.redis, &m.redis.dump);
        break;

    case 21: case 22:
        if (m.redis.dump.exists) {
            say("RESTORE");
            model_become(&m.redis, &m.redis.dump);
        }

        break;

    case 23: case 24:
        say("RENAME %s", m.redis.aside.exists ? "back" : "away");
        model_rename(&m.redis);
        break;

    case 25:
        if (rnd(3) == 0) {
            say("SET");
            model_set(&m.redis);
        }

        break;

    default:
        if (s->exists) {
            i = rnd(3);
            model_xsetid(&m.redis, i, rnd(4) ? 0 : rnd(3));
            say("XSETID " FID " added %d", ID(s->last_id), (int) s->added);
        }
    }
}


static void
redis_op(void)
{
    int  i;

    m.redis.clock += rnd(3);
    m.redis.changed = 0;
    m.redis.came = 0;

    i = rnd(m.mode->wild ? 27 : 12);

    if (i < 12) {
        append_or_trim(i);

    } else {
        disturb(i);
    }

    m.came |= m.redis.came;

    for (i = 0; i < SUBS; i++) {
        m.subs[i].came |= m.redis.came;
    }

    if (m.redis.changed && m.armed) {
        m.armed = 0;

        if (!m.polling) {
            m.bells++;
        }
    }
}


static void
join(void)
{
    int           n, e;
    model_sub_t  *sub;

    n = rnd(SUBS);
    sub = &m.subs[n];

    if (sub->here) {
        if (rnd(3) == 0) {
            say("sub %d leaves", n);
            sub->here = 0;
        }

        return;
    }

    memset(sub, 0, sizeof(*sub));
    sub->here = 1;
    sub->prev = -1;
    sub->born = MODEL_ENTRIES;

    if (m.redis.n && rnd(3)) {
        e = rnd(4) ? 8 : m.redis.n;
        e = m.redis.n - 1 - rnd(m.redis.n < e ? m.redis.n : e);
        sub->start = m.redis.id[e];

    } else if (rnd(8) == 0) {
        sub->start.ms = m.redis.clock + rnd(4);
        sub->start.seq = rnd(2);

        for (e = 0; e < m.redis.n; e++) {
            if (conduit_stream_id_cmp(&m.redis.id[e], &sub->start) == 0) {
                break;
            }
        }

        if (e == m.redis.n) {
            sub->born = 0;          /* of no entry */
        }
    }

    conduit_place_join(&sub->place, &m.h, &sub->start);
    sub->life = sub->place.life;

    say("sub %d joins at " FID ": where %d", n, ID(sub->start),
        sub->place.where);
}


static void
hear(void)
{
    if (m.bells == 0) {
        return;
    }

    m.bells--;

    switch (rnd(16)) {

    case 0:
        say("a ring is lost");
        m.unrung = 1;
        break;

    case 1:
        say("a ring is put off");   /* too many rings had no new entry */
        later();
        break;

    default:
        say("rings");
        ring(1);
    }
}


static void
trouble(void)
{
    switch (rnd(m.mode->storm ? 20 : 10)) {

    case 0: case 1: case 2: case 3:
        if (m.nout) {
            m.out[rnd(m.nout)].failed = PASSING + rnd(3);
        }

        break;

    case 4: case 5:
        if (m.down) {
            link_up();

        } else if (rnd(2)) {
            link_lost();
        }

        break;

    case 6:
        if (rnd(3) == 0) {
            lose_tracking();
        }

        break;

    case 7:
        overflow();
        break;

    default:
        if (m.mode->storm) {
            m.storm = rnd(4) != 0;
            say("errors: %s", m.storm ? "all the time" : "no more");
        }
    }
}


#endif /* MODEL_OPS_H */
