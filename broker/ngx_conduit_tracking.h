/* Copyright (C) Conduit for NGINX authors */

/*
 * The part of the doorbell (ngx_conduit_doorbell.h) that decides between CLIENT
 * TRACKING and polling, and reports whether the doorbell is up.
 */

#ifndef NGX_CONDUIT_TRACKING_H
#define NGX_CONDUIT_TRACKING_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_doorbell.h"

#pragma GCC visibility push(hidden)

/*
 * Switches tracking on if both links are up and the bell is subscribed; when
 * the server agrees, the doorbell is up.  Does nothing while keys are polled,
 * unless a trial is under way.
 */
void ngx_conduit_tracking_bind(ngx_conduit_doorbell_t *db);

/* Whether an error means that tracking does not exist, or is not allowed. */
ngx_uint_t ngx_conduit_tracking_unsupported(char *error);

/* Keys are polled from now on, for as long as the doorbell is open. */
void ngx_conduit_tracking_unavailable(ngx_conduit_doorbell_t *db,
    const char *why);

/*
 * Ends the last trial while keys are polled, and begins the next one if it is
 * time.  Closes the bell: must not be called from a reply handler.
 */
void ngx_conduit_tracking_next_trial(ngx_conduit_doorbell_t *db);

/* Ends a trial.  The bell stays open, as this may run in one of its reply
   handlers. */
void ngx_conduit_tracking_trial_failed(ngx_conduit_doorbell_t *db,
    const char *why);

/* Report to the owner that the doorbell is up, or not up any more. */
void ngx_conduit_tracking_report_up(ngx_conduit_doorbell_t *db);
void ngx_conduit_tracking_report_down(ngx_conduit_doorbell_t *db);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TRACKING_H */
