/*
 * Metrics as pages: a table says what the cells of an array stand for, and is
 * written as Prometheus' text (exposition format 0.0.4) or as JSON.  Pure: no
 * NGINX type.
 */

#ifndef CONDUIT_METRICS_H
#define CONDUIT_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_buf.h"

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_COUNTER = 0,
    CONDUIT_GAUGE,
    CONDUIT_HISTOGRAM
} conduit_metric_type_t;

/*
 * One metric.  With values it has one series for each of them, in cells that
 * follow one another.  A histogram has a cell for each bound, one for what is
 * above the last, and one for the sum; the cells are not cumulative.
 */
typedef struct {
    const char             *name;      /* after the prefix */
    const char             *help;
    conduit_metric_type_t   type;
    unsigned                cell;      /* the first one */
    const char             *label;     /* NULL: a single series */
    const char * const     *values;    /* of the label, NULL at the end */
    const uint32_t         *bounds;    /* upper ones, microseconds, ascending,
                                          0 at the end; of a histogram */
} conduit_metric_t;

/* what a module was made of; texts without anything to escape */
typedef struct {
    const char  *name;                 /* "conduit_publish/1.0.0" */
    const char  *module;               /* "publish" */
    const char  *version;
    const char  *nginx;
    const char  *hiredis;
} conduit_metrics_build_t;

/* what metrics are written from; name NULL ends the table */
typedef struct {
    const char                     *prefix;  /* "conduit_publish_" */
    const conduit_metric_t         *table;
    const uint64_t                 *cells;   /* of counters and histograms */
    const uint64_t                 *gauges;  /* cells of gauges */
    const conduit_metrics_build_t  *build;   /* NULL: not written */
    int                             ready;   /* 1, 0; -1: nobody looks */
} conduit_metrics_t;

/* links to one server */
typedef struct {
    const char  *node;                 /* its name, zero-terminated */
    const char  *link;                 /* "reader" */
    unsigned     open;                 /* that many are wanted */
    unsigned     up;                   /* and that many work */
} conduit_metrics_link_t;


/* of a histogram with 14 bounds: one for each, what is above, the sum */
#define CONDUIT_METRICS_CELLS  16

/* bounds for commands and requests, 500 us to 10 s */
extern const uint32_t  conduit_metrics_seconds[CONDUIT_METRICS_CELLS - 1];

/* Counts a value, in microseconds, in a histogram's cells. */
void conduit_metrics_observe(uint64_t *cells, const uint32_t *bounds,
    uint64_t usec);

/*
 * Writes all metrics, and those of the links.  Check b->failed afterwards.
 */
void conduit_metrics_prometheus(const conduit_metrics_t *m,
    const conduit_metrics_link_t *links, size_t nlinks, conduit_buf_t *b);
void conduit_metrics_json(const conduit_metrics_t *m,
    const conduit_metrics_link_t *links, size_t nlinks, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_METRICS_H */
