/* SPDX-License-Identifier: MIT */
/*
 * service: what `weir run` and `weir up` have in common around their worker: the rules in force,
 * decisions that are remembered, and requests about flows over the control socket.
 */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "control.h"
#include "workerctl.h"

#include "base/log.h"

/**
 * struct service - @control may be NULL; @worker, @record and @control are borrowed
 * @reloaded: what became of service_reload(): @rc 0: the rules are good, and in force after
 *	service_adopt(), else -errno and the reason in @text. It returns what is answered to whoever
 *	asked: "error: ..." or anything else
 */
struct service {
	struct control *control;
	struct workerctl *worker;
	struct record *record;
	const char *netns;
	struct ruleset_use rules;
	struct ruleset_load load;
	struct decisions decisions;
	uint32_t last_decision;
	uint32_t asker; /* of the reload under way */
	const char *(*reloaded)(void *ctx, int rc, const char *text);
	void *ctx;
	uint64_t look_at;
	struct log_limit held, cut;
};

void service_init(struct service *s);
void service_free(struct service *s);
/** service_rules - at the start: read @path before anything is changed; 0 or -errno with @err */
int service_rules(struct service *s, const char *path, char *err, size_t errsize);
/** service_event - for struct workerctl_env.event, @ctx is the service */
void service_event(void *ctx, enum judge_event what, const struct workerctl_flow *flow,
		   const struct policy_rule *rule);
/**
 * service_reload - read @path; the answer is service.reloaded()'s
 * @client: who asked (struct control_peer), 0: nobody
 *
 * 0, or -errno: -EBUSY, or it could not be started.
 */
int service_reload(struct service *s, const char *path, uint32_t client);
/** service_adopt - in service.reloaded(): the new rules are in force, here and in the worker */
void service_adopt(struct service *s);
int service_fd(const struct service *s); /* to be polled for reading; -1: nothing to wait for */
/** service_serve - @readable: of service_fd(); returns when to call again, 0: with the next event
 */
uint64_t service_serve(struct service *s, bool readable, uint64_t now);
/** service_answer - false: it is none of its requests */
bool service_answer(struct service *s, const struct control_peer *who, const char *request,
		    FILE *out, enum control_said *said);

#endif
