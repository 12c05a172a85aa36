/* SPDX-License-Identifier: MIT */
/* tosyslog: a line for the system's log; apart from log.h, whose names <syslog.h> takes. */
#ifndef WEIR_TOSYSLOG_H
#define WEIR_TOSYSLOG_H

void tosyslog_critical(const char *line);

#endif
