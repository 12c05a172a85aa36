/* SPDX-License-Identifier: MIT */
/*
 * listener: a socket outside at which peers reach programs.
 *
 * Whoever has the right to bind it does so (publish.c) and hands it to the worker with this
 * description; the worker's half is relay_in.c.
 */
#ifndef WEIR_LISTENER_H
#define WEIR_LISTENER_H

#include "base/addr.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * struct listener - plain data, crosses processes
 * @id: of whoever bound it; never 0
 * @proto: IPPROTO_TCP (it listens) or IPPROTO_UDP (it is bound)
 * @steered: connections for others' addresses and ports arrive here; they are taken to where
 *       getsockname() of the accepted socket says they wanted to go. TCP only
 * @host: what it is bound to; the family's unspecified address means all
 * @app: where its peers are taken to, inside, unless @steered
 * @peer_lo, @peer_hi: if @steered, ports that a peer is given inside, which has its own outside in
 *       the same namespace
 */
struct listener {
	uint32_t id;
	uint8_t proto;
	bool steered;
	uint16_t peer_lo, peer_hi;
	struct addrport host, app;
};

#endif
