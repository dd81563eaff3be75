/* Copyright (C) Conduit for NGINX authors */

/*
 * The only C++ file of the project: Debian 12 ships no C library that prints
 * the shortest form of a double.  Only std::to_chars() is used, which neither
 * throws exceptions nor allocates memory.
 */

#include <charconv>
#include <cmath>

#include "conduit_number.h"


/* 2^53: above it, not every whole number can be a double */
static const double  conduit_number_whole_max = 9007199254740992.0;


size_t
conduit_number_write(double number, char *text)
{
    char  *end = text + CONDUIT_NUMBER_MAX;

    if (std::fabs(number) >= conduit_number_whole_max) {

        /* digits alone: a parser might read them as a 64-bit integer */

        end = std::to_chars(text, end, number,
                            std::chars_format::scientific).ptr;

    } else if (number == std::trunc(number)) {

        /* "100000" instead of "1e+05" */

        end = std::to_chars(text, end, number, std::chars_format::fixed).ptr;

    } else {
        end = std::to_chars(text, end, number).ptr;
    }

    return end - text;
}
