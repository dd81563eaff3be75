/* Copyright (C) Conduit for NGINX authors */

/*
 * Writes a double as the shortest decimal text that a parser reads as the same
 * double, with std::to_chars() of C++.  Private to proto/.
 */

#ifndef CONDUIT_NUMBER_H
#define CONDUIT_NUMBER_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* enough for the longest text: sign, 17 digits, point, "e-308" */
#define CONDUIT_NUMBER_MAX  32

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Writes a finite number to text, which has CONDUIT_NUMBER_MAX bytes, without a
 * terminating zero.  Returns the length.  Whole numbers whose absolute value is
 * below 2^53 are written as digits only, numbers above it with an exponent.
 * The result does not depend on the locale; no memory is allocated.
 */
size_t conduit_number_write(double number, char *text);

#ifdef __cplusplus
}
#endif

#pragma GCC visibility pop

#endif /* CONDUIT_NUMBER_H */
