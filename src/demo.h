/* SPDX-License-Identifier: MIT */
/*
 * demo: what `weir run` shows when no COMMAND is given, with no network needed.
 *
 * A small web server of weir's own listens on the host's loopback; an address
 * inside is mapped to it; a client inside asks for a page. The request crosses the TUN,
 * the stack, the relay and a real socket, as any program's would.
 */
#ifndef WEIR_DEMO_H
#define WEIR_DEMO_H

#include "config.h"

#include <sys/types.h>

struct demo {
	pid_t server;
	char url[80], port[8], address[ADDR_STRLEN], program[4096];
	char *argv[8];
};

/** demo_start - start the server and fill in @cfg->command; 0 or -errno */
int demo_start(struct demo *d, struct config *cfg);
void demo_stop(struct demo *d);
/** demo_client - `weir demo-client ADDRESS PORT`: where there is no curl; exit status */
int demo_client(int argc, char **argv);

#endif
