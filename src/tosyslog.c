/* SPDX-License-Identifier: MIT */
#include "tosyslog.h"

#include <syslog.h>

void tosyslog_critical(const char *line)
{
	openlog("weir", LOG_PID, LOG_DAEMON);
	syslog(LOG_CRIT, "%s", line);
	closelog();
}
