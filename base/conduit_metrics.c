/* Copyright (C) Conduit for NGINX authors */

/*
 * Writes metrics as Prometheus text and as JSON.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conduit_metrics.h"


/* bytes that conduit_metrics_printf() may write; texts whose length is not
   bounded are appended separately */
#define CONDUIT_METRICS_LINE  128

#define CONDUIT_USEC          1000000


static void conduit_metrics_printf(conduit_buf_t *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void conduit_metrics_text(conduit_buf_t *b, const char *s);
static void conduit_metrics_escaped(conduit_buf_t *b, const char *s);
static void conduit_metrics_bound(conduit_buf_t *b, uint32_t usec);
static const uint64_t *conduit_metrics_of(const conduit_metrics_t *m,
    const conduit_metric_t *metric);
static void conduit_metrics_head(const char *prefix, const char *name,
    const char *help, const char *type, conduit_buf_t *b);
static void conduit_metrics_series(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b);
static void conduit_metrics_histogram(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b);
static void conduit_metrics_links(const char *prefix, const char *name,
    const char *help, const conduit_metrics_link_t *links, size_t nlinks,
    size_t offset, conduit_buf_t *b);
static void conduit_metrics_json_series(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b);
static void conduit_metrics_json_histogram(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b);


const uint32_t  conduit_metrics_seconds[CONDUIT_METRICS_BOUNDS + 1] = {
    500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000, 10000000, 0
};


void
conduit_metrics_observe(uint64_t *cells, const uint32_t *bounds, size_t n,
    uint64_t usec)
{
    size_t  i;

    for (i = 0; i < n && usec > bounds[i]; i++) { /* void */ }

    cells[i]++;
    cells[n + 1] += usec;
}


void
conduit_metrics_prometheus(const conduit_metrics_t *m,
    const conduit_metrics_link_t *links, size_t nlinks, conduit_buf_t *b)
{
    const conduit_metric_t  *metric;

    static const char  *types[] = { "counter", "gauge", "histogram" };

    if (m->build) {
        conduit_metrics_head("", "conduit_build_info",
                             "Versions of the module, and of NGINX and hiredis "
                             "that it was built with.", "gauge", b);
        conduit_metrics_printf(b, "conduit_build_info{module=\"%s\","
                               "version=\"%s\",nginx=\"%s\","
                               "hiredis=\"%s\"} 1\n",
                               m->build->module, m->build->version,
                               m->build->nginx, m->build->hiredis);
    }

    if (m->ready >= 0) {
        conduit_metrics_head(m->prefix, "ready",
                             "Whether Redis works, as reported by the page "
                             "\"ready\".", "gauge", b);
        conduit_metrics_text(b, m->prefix);
        conduit_metrics_printf(b, "ready %d\n", m->ready);
    }

    for (metric = m->table; metric->name; metric++) {

        conduit_metrics_head(m->prefix, metric->name, metric->help,
                             types[metric->type], b);

        if (metric->type == CONDUIT_HISTOGRAM) {
            conduit_metrics_histogram(m, metric, b);

        } else {
            conduit_metrics_series(m, metric, b);
        }
    }

    if (nlinks) {
        conduit_metrics_links(m->prefix, "redis_links",
                              "Connections to Redis that workers try to keep "
                              "open.",
                              links, nlinks,
                              offsetof(conduit_metrics_link_t, open), b);
        conduit_metrics_links(m->prefix, "redis_links_up",
                              "Connections to Redis that work.",
                              links, nlinks,
                              offsetof(conduit_metrics_link_t, up), b);
    }
}


static void
conduit_metrics_head(const char *prefix, const char *name, const char *help,
    const char *type, conduit_buf_t *b)
{
    conduit_buf_lit(b, "# HELP ");
    conduit_metrics_text(b, prefix);
    conduit_metrics_text(b, name);
    conduit_buf_lit(b, " ");
    conduit_metrics_text(b, help);
    conduit_buf_lit(b, "\n# TYPE ");
    conduit_metrics_text(b, prefix);
    conduit_metrics_text(b, name);
    conduit_metrics_printf(b, " %s\n", type);
}


static void
conduit_metrics_series(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b)
{
    unsigned         i;
    const uint64_t  *cells;

    cells = conduit_metrics_of(m, metric);

    for (i = 0; i == 0 || (metric->label && metric->values[i]); i++) {

        conduit_metrics_text(b, m->prefix);
        conduit_metrics_text(b, metric->name);

        if (metric->label) {
            conduit_metrics_printf(b, "{%s=\"%s\"}", metric->label,
                                   metric->values[i]);
        }

        conduit_metrics_printf(b, " %" PRIu64 "\n", cells[i]);
    }
}


static void
conduit_metrics_histogram(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b)
{
    unsigned         i;
    uint64_t         count, sum;
    const uint64_t  *cells;

    cells = conduit_metrics_of(m, metric);
    count = 0;

    for (i = 0; metric->bounds[i]; i++) {
        count += cells[i];

        conduit_metrics_text(b, m->prefix);
        conduit_metrics_text(b, metric->name);
        conduit_buf_lit(b, "_bucket{le=\"");
        conduit_metrics_bound(b, metric->bounds[i]);
        conduit_metrics_printf(b, "\"} %" PRIu64 "\n", count);
    }

    count += cells[i];
    sum = cells[i + 1];

    conduit_metrics_text(b, m->prefix);
    conduit_metrics_text(b, metric->name);
    conduit_metrics_printf(b, "_bucket{le=\"+Inf\"} %" PRIu64 "\n", count);

    conduit_metrics_text(b, m->prefix);
    conduit_metrics_text(b, metric->name);
    conduit_metrics_printf(b, "_sum %" PRIu64 ".%06" PRIu64 "\n",
                           sum / CONDUIT_USEC, sum % CONDUIT_USEC);

    conduit_metrics_text(b, m->prefix);
    conduit_metrics_text(b, metric->name);
    conduit_metrics_printf(b, "_count %" PRIu64 "\n", count);
}


static void
conduit_metrics_links(const char *prefix, const char *name, const char *help,
    const conduit_metrics_link_t *links, size_t nlinks, size_t offset,
    conduit_buf_t *b)
{
    size_t    i;
    unsigned  value;

    conduit_metrics_head(prefix, name, help, "gauge", b);

    for (i = 0; i < nlinks; i++) {
        memcpy(&value, (const char *) &links[i] + offset, sizeof(unsigned));

        conduit_metrics_text(b, prefix);
        conduit_metrics_text(b, name);
        conduit_buf_lit(b, "{node=\"");
        conduit_metrics_escaped(b, links[i].node);
        conduit_buf_lit(b, "\",link=\"");
        conduit_metrics_escaped(b, links[i].link);
        conduit_metrics_printf(b, "\"} %u\n", value);
    }
}


void
conduit_metrics_json(const conduit_metrics_t *m,
    const conduit_metrics_link_t *links, size_t nlinks, conduit_buf_t *b)
{
    size_t                   i;
    const conduit_metric_t  *metric;

    conduit_buf_lit(b, "{\n");

    if (m->build) {
        conduit_metrics_printf(b, "  \"build_info\": {\"module\": \"%s\", "
                               "\"version\": \"%s\", \"nginx\": \"%s\", "
                               "\"hiredis\": \"%s\"},\n", m->build->module,
                               m->build->version, m->build->nginx,
                               m->build->hiredis);
    }

    if (m->ready >= 0) {
        conduit_metrics_printf(b, "  \"ready\": %d,\n", m->ready);
    }

    for (metric = m->table; metric->name; metric++) {

        conduit_buf_lit(b, "  \"");
        conduit_metrics_text(b, metric->name);
        conduit_buf_lit(b, "\": ");

        if (metric->type == CONDUIT_HISTOGRAM) {
            conduit_metrics_json_histogram(m, metric, b);

        } else {
            conduit_metrics_json_series(m, metric, b);
        }

        conduit_buf_lit(b, ",\n");
    }

    conduit_buf_lit(b, "  \"redis_links\": [");

    for (i = 0; i < nlinks; i++) {
        conduit_metrics_text(b, i ? ",\n    {\"node\": \""
                                  : "\n    {\"node\": \"");
        conduit_metrics_escaped(b, links[i].node);
        conduit_buf_lit(b, "\", \"link\": \"");
        conduit_metrics_escaped(b, links[i].link);
        conduit_metrics_printf(b, "\", \"open\": %u, \"up\": %u}",
                               links[i].open, links[i].up);
    }

    conduit_metrics_text(b, nlinks ? "\n  ]\n}\n" : "]\n}\n");
}


static void
conduit_metrics_json_series(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b)
{
    unsigned         i;
    const uint64_t  *cells;

    cells = conduit_metrics_of(m, metric);

    if (metric->label == NULL) {
        conduit_metrics_printf(b, "%" PRIu64, cells[0]);
        return;
    }

    for (i = 0; metric->values[i]; i++) {
        conduit_metrics_printf(b, "%s\"%s\": %" PRIu64, i ? ", " : "{",
                               metric->values[i], cells[i]);
    }

    conduit_buf_lit(b, "}");
}


static void
conduit_metrics_json_histogram(const conduit_metrics_t *m,
    const conduit_metric_t *metric, conduit_buf_t *b)
{
    unsigned         i;
    uint64_t         count;
    const uint64_t  *cells;

    cells = conduit_metrics_of(m, metric);
    count = 0;

    conduit_buf_lit(b, "{\"buckets\": {");

    for (i = 0; metric->bounds[i]; i++) {
        count += cells[i];
        conduit_buf_lit(b, "\"");
        conduit_metrics_bound(b, metric->bounds[i]);
        conduit_metrics_printf(b, "\": %" PRIu64 ", ", count);
    }

    count += cells[i];

    conduit_metrics_printf(b, "\"+Inf\": %" PRIu64 "}, \"sum\": %" PRIu64
                           ".%06" PRIu64 ", \"count\": %" PRIu64 "}", count,
                           cells[i + 1] / CONDUIT_USEC,
                           cells[i + 1] % CONDUIT_USEC, count);
}


static const uint64_t *
conduit_metrics_of(const conduit_metrics_t *m, const conduit_metric_t *metric)
{
    return (metric->type == CONDUIT_GAUGE ? m->gauges : m->cells)
           + metric->cell;
}


static void
conduit_metrics_printf(conduit_buf_t *b, const char *format, ...)
{
    int      n;
    char    *p;
    va_list  args;

    p = conduit_buf_reserve(b, CONDUIT_METRICS_LINE);
    if (p == NULL) {
        return;
    }

    va_start(args, format);
    n = vsnprintf(p, CONDUIT_METRICS_LINE, format, args);
    va_end(args);

    if (n < 0 || n >= CONDUIT_METRICS_LINE) {
        b->failed = 1;
        return;
    }

    b->len += n;
}


static void
conduit_metrics_text(conduit_buf_t *b, const char *s)
{
    conduit_buf_append(b, s, strlen(s));
}


/*
 * Label values and JSON strings both need '"' and '\' escaped.  Control
 * characters, which they would write in different ways, are replaced with "?";
 * the name of a server has none.
 */

static void
conduit_metrics_escaped(conduit_buf_t *b, const char *s)
{
    char  c;

    for ( /* void */ ; *s; s++) {
        c = *s;

        if (c == '"' || c == '\\') {
            conduit_buf_lit(b, "\\");
        }

        if ((unsigned char) c < 0x20 || c == 0x7f) {
            c = '?';
        }

        conduit_buf_append(b, &c, 1);
    }
}


/* in seconds, without trailing zeros; a "%g" would depend on the locale */

static void
conduit_metrics_bound(conduit_buf_t *b, uint32_t usec)
{
    int       digits;
    uint32_t  part;

    conduit_metrics_printf(b, "%" PRIu32, usec / CONDUIT_USEC);

    part = usec % CONDUIT_USEC;

    if (part) {
        for (digits = 6; part % 10 == 0; digits--) {
            part /= 10;
        }

        conduit_metrics_printf(b, ".%0*" PRIu32, digits, part);
    }
}
