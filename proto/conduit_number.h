/*
 * A double as decimal text, by the C++ library's std::to_chars(): the shortest
 * that a parser reads as the same double.  Private to this room.
 */

#ifndef CONDUIT_NUMBER_H
#define CONDUIT_NUMBER_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* more than the longest text: sign, 17 digits, point, e-308 */
#define CONDUIT_NUMBER_MAX  32

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Writes a finite number to text, which has CONDUIT_NUMBER_MAX bytes; returns
 * the length, there is no zero byte behind it.  Whole numbers that all doubles
 * near them are too (below 2^53) are written with all their digits.  The locale
 * does not matter, no memory is allocated.
 */
size_t conduit_number_write(double number, char *text);

#ifdef __cplusplus
}
#endif

#pragma GCC visibility pop

#endif /* CONDUIT_NUMBER_H */
