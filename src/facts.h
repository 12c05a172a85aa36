/* SPDX-License-Identifier: MIT */
/*
 * facts: a flow as expressions see it (expr.h): the same for the worker, whose rules judge it,
 * and for the supervisor, whose users filter by it.
 */
#ifndef WEIR_FACTS_H
#define WEIR_FACTS_H

#include "expr.h"
#include "flow.h"
#include "learnt.h"
#include "owner.h"

/**
 * struct flow_facts - all borrowed
 * @owner: NULL: not known
 * @learnt: NULL: nothing was
 * @dns_name: that the program had asked for, or NULL
 * @netns: name of the programs' network namespace, or NULL
 * @owner_pending: the owner is still being looked for
 * @names_pending: the first payload may still tell names
 * @host_pending: ... and a better one for the host than @dns_name
 */
struct flow_facts {
	const struct flow_rec *rec;
	const struct owner *owner;
	const struct learnt *learnt;
	const char *dns_name, *netns;
	uint64_t now;
	bool owner_pending, names_pending, host_pending;
};

/* Fields that the owner tells (bits as of expr_fields()), those of the payload. */
extern const uint64_t facts_of_owner, facts_of_payload;

/** facts_get - an expr_get_fn over a struct flow_facts */
expr_get_fn facts_get;

#endif
