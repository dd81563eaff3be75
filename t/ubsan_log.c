/* Copyright (C) Conduit for NGINX authors */

/*
 * Linked into the NGINX of "make asan".  UBSan reads UBSAN_OPTIONS when it has
 * something to report; by then NGINX has cleared the environment, so that the
 * report went into an error log that nobody looks at.  This tells UBSan of the
 * file before main().
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>


__attribute__((constructor)) static void
ubsan_log_init(void)
{
    void        *ubsan;
    const char  *path;
    void       (*set_report_path)(const char *path);

    path = getenv("CONDUIT_UBSAN_LOG");
    if (path == NULL) {
        return;
    }

    /* ASan has a function of that name, too: the one of UBSan is meant */

    ubsan = dlopen("libubsan.so.1", RTLD_LAZY|RTLD_NOLOAD);

    if (ubsan == NULL) {
        fprintf(stderr, "ubsan_log: %s\n", dlerror());
        exit(1);
    }

    *(void **) &set_report_path = dlsym(ubsan, "__sanitizer_set_report_path");

    if (set_report_path == NULL) {
        fprintf(stderr, "ubsan_log: %s\n", dlerror());
        exit(1);
    }

    set_report_path(path);
}
