/* SPDX-License-Identifier: MIT */
/* outbox: messages to the supervisor that its socket had no room for yet, in order, bounded. */
#ifndef WEIR_OUTBOX_H
#define WEIR_OUTBOX_H

#include "ipc.h"

#include <stdbool.h>

struct outbox;

struct outbox *outbox_new(int fd);
void outbox_free(struct outbox *o);
/** outbox_send - now, or when there is room; over OUTBOX_MAX bytes it is lost and counted */
void outbox_send(struct outbox *o, const struct ipc_msg *m);
void outbox_flush(struct outbox *o);
bool outbox_empty(const struct outbox *o);
/** outbox_finish - wait up to a second until all is sent (end of the worker) */
void outbox_finish(struct outbox *o);
uint64_t outbox_lost(const struct outbox *o);

#define OUTBOX_MAX (16 << 20)

#endif
