/* Copyright (C) Conduit for NGINX authors */

/*
 * Metrics: a table describes what the cells of an array count.  The cells are
 * written as Prometheus text (exposition format 0.0.4) or as JSON.  Pure: no
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
} conduit_metric_type_e;

/*
 * One metric.  A metric with a label has a series for each value of the label,
 * in consecutive cells.  A histogram has a cell for each bound, one for values
 * above the last bound, and one for the sum, in microseconds; its cells are not
 * cumulative.
 */
typedef struct {
    const char             *name;      /* without the prefix */
    const char             *help;
    conduit_metric_type_e   type;
    unsigned                cell;      /* index of the first one */
    const char             *label;     /* NULL: a single series */
    const char * const     *values;    /* of the label, NULL at the end */
    const uint32_t         *bounds;    /* of a histogram: upper bounds in
                                          microseconds, ascending, 0 at the
                                          end */
} conduit_metric_t;

/* versions of a module; the texts contain nothing that needs escaping */
typedef struct {
    const char  *name;                 /* "conduit_publish/1.0.0" */
    const char  *module;               /* "publish" */
    const char  *version;
    const char  *nginx;
    const char  *hiredis;
} conduit_metrics_build_t;

/* what to write; the table ends with an element whose name is NULL */
typedef struct {
    const char                     *prefix;  /* "conduit_publish_" */
    const conduit_metric_t         *table;
    const uint64_t                 *cells;   /* of counters and histograms */
    const uint64_t                 *gauges;  /* cells of gauges */
    const conduit_metrics_build_t  *build;   /* NULL: not written */
    int                             ready;   /* 1 or 0; -1: not checked, not
                                                written */
} conduit_metrics_t;

/* connections of one role to one server, in all workers */
typedef struct {
    const char  *node;                 /* its name, zero-terminated */
    const char  *link;                 /* the role, e.g. "reader" */
    unsigned     open;                 /* how many there should be */
    unsigned     up;                   /* how many of them work */
} conduit_metrics_link_t;


/* bounds of the histograms, which end with a zero, and their cells: one for
   each bound, one above the last, and the sum */
#define CONDUIT_METRICS_BOUNDS  14
#define CONDUIT_METRICS_CELLS   (CONDUIT_METRICS_BOUNDS + 2)

/* bounds for the duration of commands and requests, from 500 us to 10 s */
extern const uint32_t  conduit_metrics_seconds[CONDUIT_METRICS_BOUNDS + 1];

/* Counts a value, in microseconds; cells are those of a histogram with n
   bounds. */
void conduit_metrics_observe(uint64_t *cells, const uint32_t *bounds,
    size_t n, uint64_t usec);

/*
 * Append all metrics, and those of nlinks links, to b.  b->failed is set when
 * memory is out.
 */
void conduit_metrics_prometheus(const conduit_metrics_t *m,
    const conduit_metrics_link_t *links, size_t nlinks, conduit_buf_t *b);
void conduit_metrics_json(const conduit_metrics_t *m,
    const conduit_metrics_link_t *links, size_t nlinks, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_METRICS_H */
