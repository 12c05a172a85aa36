/* SPDX-License-Identifier: MIT */
/* notify: tells the service manager how we are (sd_notify(3): one datagram to $NOTIFY_SOCKET). */
#ifndef WEIR_NOTIFY_H
#define WEIR_NOTIFY_H

#include <stdint.h>

/** notify - send @state ("READY=1", "WATCHDOG=1\nSTATUS=..."); without a manager nothing happens */
void notify(const char *state);
/** notify_interval - how often the manager wants WATCHDOG=1, in ns: half its limit; 0: never */
uint64_t notify_interval(void);

#endif
