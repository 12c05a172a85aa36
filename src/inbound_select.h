/* SPDX-License-Identifier: MIT */
/*
 * inbound_select: a selection as the programs of src/bpf/inbound.bpf.c read it: which sockets that
 * wait for peers are meant, and by which peers. Pure.
 *
 * Steered is what weir's rules bring back, no more and no less: a server's answer that is not
 * selected would leave by another way than the connection came, and one that is selected has no
 * other way than weir. So the narrowings and exceptions of a selector hold for its servers'
 * answers, whose destination is the peer; and where one selector can't be followed, nothing is
 * steered.
 */
#ifndef WEIR_INBOUND_SELECT_H
#define WEIR_INBOUND_SELECT_H

#include "select.h"

#include "bpf/inbound_bpf_shared.h"

/* Ports that the relay gives to peers (below), where no exception names them: what few clients use
 */
#define INBOUND_PORT_LO 5001
#define INBOUND_PORT_HI 32767

/** struct inbound_peer - selectors that take what is sent to a prefix of peers */
struct inbound_peer {
	struct ib_prefix key;
	uint64_t take;
};

/**
 * struct inbound_select - bits are numbers of selectors; large, so not on a stack
 * @cgroups: for each of the selection's cgroups
 * @all: selectors that steer: those of TCP
 * @obstacle: the first one that takes TCP and can't be followed; -1: none, so all is well
 * @ports: those that a peer may have as the server sees it; no selector excepts one of them
 */
struct inbound_select {
	struct ib_cond conds[IB_CONDS_MAX];
	unsigned n_conds;
	struct ib_bits cgroups[SELECT_CGROUPS_MAX];
	unsigned n_cgroups;
	struct inbound_peer peers[IB_PREFIXES_MAX];
	unsigned n_peers;
	uint64_t all;
	int obstacle;
	struct port_range ports;
};

/**
 * inbound_select_make - from a finished selection
 * @own_marks: bits of a mark that are weir's own
 * @link_local_pass: what stays on the link is not selected
 *
 * Can't be followed: --netns; --mark (what mark an answer has shows when it is sent); cgroups, also
 * excepted ones (the first answer is none of the cgroup's in nftables' eyes); what is narrowed to
 * ports (of the peers, here); and exceptions of so many ports that none are left for peers.
 */
void inbound_select_make(struct inbound_select *out, const struct selection *s, uint32_t own_marks,
			 bool link_local_pass);

#endif
