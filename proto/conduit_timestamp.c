/* Copyright (C) Conduit for NGINX authors */

/*
 * Reads a timestamp of RFC 3339, without leap seconds, as
 * google.protobuf.Timestamp has none.
 */

#include "conduit_timestamp.h"


/* 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, in seconds */
#define CONDUIT_TIMESTAMP_MIN  INT64_C(-62135596800)
#define CONDUIT_TIMESTAMP_MAX  INT64_C(253402300799)

#define CONDUIT_TIMESTAMP_DATE  (sizeof("YYYY-MM-DDThh:mm:ss") - 1)


static int conduit_timestamp_number(const char *s, unsigned digits,
    int *number);
static int conduit_timestamp_fraction(const char **s, const char *end,
    int32_t *nanos);
static int conduit_timestamp_offset(const char *s, const char *end,
    int64_t *offset);
static int64_t conduit_timestamp_days(int year, int month, int day);
static int conduit_timestamp_month(int year, int month);


int
conduit_timestamp_parse(const char *s, size_t len, int64_t *seconds,
    int32_t *nanos)
{
    int          year, month, day, hour, minute, second;
    int32_t      fraction;
    int64_t      total, offset;
    const char  *p, *end;

    end = s + len;

    if (len < CONDUIT_TIMESTAMP_DATE
        || s[4] != '-' || s[7] != '-' || (s[10] | 0x20) != 't'
        || s[13] != ':' || s[16] != ':'
        || conduit_timestamp_number(s, 4, &year) != 0
        || conduit_timestamp_number(s + 5, 2, &month) != 0
        || conduit_timestamp_number(s + 8, 2, &day) != 0
        || conduit_timestamp_number(s + 11, 2, &hour) != 0
        || conduit_timestamp_number(s + 14, 2, &minute) != 0
        || conduit_timestamp_number(s + 17, 2, &second) != 0)
    {
        return -1;
    }

    if (year < 1 || month < 1 || month > 12 || day < 1
        || day > conduit_timestamp_month(year, month)
        || hour > 23 || minute > 59 || second > 59)
    {
        return -1;
    }

    p = s + CONDUIT_TIMESTAMP_DATE;

    if (conduit_timestamp_fraction(&p, end, &fraction) != 0
        || conduit_timestamp_offset(p, end, &offset) != 0)
    {
        return -1;
    }

    total = conduit_timestamp_days(year, month, day) * 86400
            + hour * 3600 + minute * 60 + second - offset;

    if (total < CONDUIT_TIMESTAMP_MIN || total > CONDUIT_TIMESTAMP_MAX) {
        return -1;
    }

    *seconds = total;
    *nanos = fraction;

    return 0;
}


static int
conduit_timestamp_number(const char *s, unsigned digits, int *number)
{
    unsigned  i;

    *number = 0;

    for (i = 0; i < digits; i++) {

        if (s[i] < '0' || s[i] > '9') {
            return -1;
        }

        *number = *number * 10 + (s[i] - '0');
    }

    return 0;
}


/* reads an optional fraction, "." and one to nine digits; moves *s past it */

static int
conduit_timestamp_fraction(const char **s, const char *end, int32_t *nanos)
{
    int32_t      unit;
    const char  *p;

    *nanos = 0;
    p = *s;

    if (p == end || *p != '.') {
        return 0;
    }

    unit = 100000000;

    for (p++; p != end && *p >= '0' && *p <= '9'; p++) {

        if (unit == 0) {
            return -1;
        }

        *nanos += (*p - '0') * unit;
        unit /= 10;
    }

    if (p == *s + 1) {
        return -1;
    }

    *s = p;

    return 0;
}


/* reads "Z", "+hh:mm" or "-hh:mm" up to the end; *offset is in seconds */

static int
conduit_timestamp_offset(const char *s, const char *end, int64_t *offset)
{
    int  hour, minute;

    if (end - s == 1 && (*s | 0x20) == 'z') {
        *offset = 0;
        return 0;
    }

    if (end - s != sizeof("+hh:mm") - 1
        || (s[0] != '+' && s[0] != '-') || s[3] != ':'
        || conduit_timestamp_number(s + 1, 2, &hour) != 0
        || conduit_timestamp_number(s + 4, 2, &minute) != 0
        || hour > 23 || minute > 59)
    {
        return -1;
    }

    *offset = hour * 3600 + minute * 60;

    if (s[0] == '-') {
        *offset = -*offset;
    }

    return 0;
}


/*
 * Returns the days since the epoch, by the Gregorian calendar.  Years are
 * counted from March here, so that a leap day is the last day of its year;
 * 719468 is the number of days from 0000-03-01 to 1970-01-01.
 */

static int64_t
conduit_timestamp_days(int year, int month, int day)
{
    int  days;

    if (month <= 2) {
        year--;
        month += 12;
    }

    days = (153 * (month - 3) + 2) / 5 + day - 1;

    return (int64_t) year * 365 + year / 4 - year / 100 + year / 400 + days
           - 719468;
}


static int
conduit_timestamp_month(int year, int month)
{
    static const int  days[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };

    if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)) {
        return 29;
    }

    return days[month - 1];
}
