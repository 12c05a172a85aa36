/* SPDX-License-Identifier: MIT */
/*
 * hook_v1: a hook as it was built against the header of ABI version 1 (tests/abi/v1), to be loaded
 * by today's weir. It uses what there was: answers a request itself, by injecting.
 *
 * LARGER builds it as if it came from a newer header: with members that weir does not know. SMALLER
 * ends its description before payload(), which must then not be called. ABI is another version.
 */
#include <string.h>

#include "weir/hook.h"

static const struct weir_host *host;

static void *load(const struct weir_host *h, struct weir_hook_ref *ref, const char **err)
{
	(void)ref;
	if (h->size < sizeof(*h) || h->abi != WEIR_HOOK_ABI) {
		*err = "this weir is too old";
		return NULL;
	}
	host = h;
	return &host;
}

static int flow_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	(void)state;
	(void)f;
	return info->size >= sizeof(*info) && info->owner->size >= sizeof(*info->owner)
		       ? WEIR_PASS
		       : WEIR_BLOCK;
}

static int64_t payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	static const char answer[] = "HTTP/1.0 200 OK\r\n\r\nfrom the hook\n";

	(void)state;
	if (p->dir == WEIR_UP && p->len >= 4 && !memcmp(p->data + p->len - 4, "\r\n\r\n", 4)) {
		host->inject(f, WEIR_DOWN, answer, strlen(answer));
		host->close(f, WEIR_DOWN);
		host->close(f, WEIR_UP);
	}
	return (int64_t)p->len;
}

static const struct {
	struct weir_hook hook;
	void (*unknown[4])(void);
} larger = {
	.hook =
		{
			.size = sizeof(larger),
			.abi = WEIR_HOOK_ABI,
			.name = "larger",
			.load = load,
			.flow_open = flow_open,
			.payload = payload,
		},
	.unknown = {(void (*)(void))load},
};

static const struct weir_hook smaller = {
	.size = offsetof(struct weir_hook, payload),
	.abi = WEIR_HOOK_ABI,
	.name = "smaller",
	.load = load,
	.flow_open = flow_open,
	.payload = payload,
};

static const struct weir_hook strange = {
	.size = sizeof(struct weir_hook),
	.abi = WEIR_HOOK_ABI + 1,
	.name = "strange",
};

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD, .name = "v1", .load = load, .flow_open = flow_open, .payload = payload,
};

WEIR_EXPORT const struct weir_hook *weir_hook_entry(void);
const struct weir_hook *weir_hook_entry(void)
{
	return WHICH;
}
