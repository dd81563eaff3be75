/*
 * The only C++ of the project: no library that Debian 12 has for C prints the
 * shortest form of a double.  Nothing but std::to_chars() is used, so that no
 * exception, no allocation and no template ends up in the modules.
 */

#include <charconv>
#include <cmath>

#include "conduit_number.h"


/* from here on not every whole number is a double */
static const double  conduit_number_whole_max = 9007199254740992.0;


size_t
conduit_number_write(double number, char *text)
{
    char  *end = text + CONDUIT_NUMBER_MAX;

    if (std::fabs(number) >= conduit_number_whole_max) {

        /* parsers may take digits alone for an integer of 64 bits */

        end = std::to_chars(text, end, number,
                            std::chars_format::scientific).ptr;

    } else if (number == std::trunc(number)) {

        /* 100000 and not 1e+05 */

        end = std::to_chars(text, end, number, std::chars_format::fixed).ptr;

    } else {
        end = std::to_chars(text, end, number).ptr;
    }

    return end - text;
}
