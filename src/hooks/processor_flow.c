/* SPDX-License-Identifier: MIT */
#include "processor_hook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void complain_of(struct processor *p, struct weir_flow *f, const char *text)
{
	complain(&p->complaints, p->host, p->ref, f, text);
}

/* --- beside the verdict ---------------------------------------------------------------------- */

static void act_learn(struct processor *p, struct weir_flow *f, const json_t *learn)
{
	const char *field;
	json_t *value;
	char text[128];

	json_object_foreach((json_t *)(uintptr_t)learn, field, value)
	{
		if (!p->host->learn(f, field, json_string_value(value)))
			continue;
		snprintf(text, sizeof(text), "its answer is wrong: learn: %.64s cannot be learnt",
			 field);
		complain_of(p, f, text);
	}
}

static void act_event(struct processor *p, struct weir_flow *f, const json_t *event)
{
	char *json = json_dumps(json_array_get(event, 1), JSON_COMPACT);

	if (json)
		p->host->event(f, json_string_value(json_array_get(event, 0)), json);
	free(json);
}

/** act - what a message wants done, in the order that inject, close, done make sense */
static void act(struct processor *p, struct weir_flow *f, const struct wire_message *m)
{
	const json_t *tag = json_object_get(m->json, "tag"), *log = json_object_get(m->json, "log");
	const json_t *text = json_is_array(log) ? json_array_get(log, 1) : log;
	const json_t *learn = json_object_get(m->json, "learn");
	const json_t *event = json_object_get(m->json, "event");

	if (tag)
		p->host->tag(f, json_string_value(tag));
	if (log)
		p->host->log(p->ref, f, m->log_level, json_string_value(text));
	if (event)
		act_event(p, f, event);
	if (learn)
		act_learn(p, f, learn);
	if (m->learn_done)
		p->host->learn_done(f);
	for (size_t i = 0; i < m->n_injects; i++)
		if (p->host->inject(f, m->injects[i].dir, m->injects[i].text.bytes,
				    m->injects[i].text.len))
			complain_of(p, f, "what it injects has no room");
	for (int dir = WEIR_UP; dir <= WEIR_DOWN; dir++)
		if (m->close[dir])
			p->host->close(f, (enum weir_dir)dir);
	if (m->done)
		p->host->done(f);
}

/* --- answers -----------------------------------------------------------------------------------
 */

void request_fail(struct request *r)
{
	struct processor *p = r->flow->p;

	r->id = 0;
	r->failed = true;
	if (r == p->asking) /* the callback that runs will see it */
		return;
	if (r->kind == REQUEST_OPEN)
		p->host->decide(r->flow->f, WEIR_ERROR);
	else
		p->host->resume(r->flow->f, r->dir);
}

/** fits - does the answer @m go with what was asked? NULL, or why not */
static const char *fits(const struct request *r, const struct wire_message *m)
{
	const struct wire_edit *last = m->n_edits ? &m->edits[m->n_edits - 1] : NULL;

	if (r->kind == REQUEST_OPEN && (m->verdict == WIRE_HOLD || m->verdict == WIRE_REPLACE))
		return "flow_open: pass, block or drop";
	if (r->kind == REQUEST_DATAGRAM && m->verdict == WIRE_HOLD)
		return "a datagram cannot be held";
	if (m->has_accept && (r->kind != REQUEST_PAYLOAD || m->accept > r->asked))
		return "accept: more than was shown";
	if (last && (r->kind == REQUEST_OPEN || last->off + last->len > r->asked))
		return "replace: more than was shown";
	return NULL;
}

static void answer_open(struct processor *p, struct request *r, const struct wire_message *m)
{
	static const int verdicts[] = {
		[WIRE_PASS] = WEIR_PASS, [WIRE_BLOCK] = WEIR_BLOCK, [WIRE_DROP] = WEIR_DROP};
	struct weir_flow *f = r->flow->f;

	act(p, f, m);
	p->host->decide(f, verdicts[m->verdict]);
	if (m->verdict == WIRE_PASS && !(p->wants & ~(unsigned)PROCESSOR_OPEN))
		p->host->done(f);
}

/** answer_unasked - of a flow that may have ended meanwhile */
static void answer_unasked(struct processor *p, const struct wire_message *m)
{
	struct weir_flow *f = p->host->find(p->ref, m->flow);

	if (!f) {
		p->late++;
		return;
	}
	act(p, f, m);
	if (m->verdict == WIRE_BLOCK)
		p->host->decide(f, WEIR_BLOCK);
}

void flow_answer(struct processor *p, struct request *r, struct wire_message *m)
{
	const char *why = r ? fits(r, m) : NULL;
	char text[160];

	if (!r) {
		answer_unasked(p, m);
	} else if (why) {
		snprintf(text, sizeof(text), "its answer is wrong: %s", why);
		complain_of(p, r->flow->f, text);
		request_fail(r);
	} else if (r->kind == REQUEST_OPEN) {
		r->id = 0;
		answer_open(p, r, m);
	} else {
		r->id = 0;
		r->answer = m;
		p->host->resume(r->flow->f, r->dir);
		return;
	}
	wire_free(m);
}

/* --- asking --------------------------------------------------------------------------------------
 */

/** make_known - a processor that was started again knows no flow from before */
static void make_known(struct processor *p, struct processor_flow *pf)
{
	if (pf->told != p->connection)
		say_flow_open(p, pf, 0);
}

/** sent - it was put into the buffer; WEIR_PEND, or WEIR_ERROR when that was the end of it */
static int sent(struct processor *p, struct request *r)
{
	p->asking = r;
	link_flush(p);
	p->asking = NULL;
	if (!r->failed)
		return WEIR_PEND;
	r->failed = false;
	return WEIR_ERROR;
}

/** ask - show the processor these bytes, or wait until that is possible */
static int ask(struct processor *p, struct request *r, const uint8_t *data, size_t len, bool last)
{
	if (p->state == LINK_DOWN)
		return WEIR_ERROR;
	if (!link_room(p)) {
		r->waits = true;
		TAILQ_INSERT_TAIL(&p->waiting, r, next);
		return WEIR_PEND;
	}
	if (request_start(p, r))
		return WEIR_ERROR;
	r->asked = len;
	r->asked_last = last;
	make_known(p, r->flow);
	say_payload(p, r, data, len);
	return sent(p, r);
}

/** edit - the answer's edits; 0, or WEIR_ERROR */
static int edit(struct processor *p, struct weir_flow *f, const struct request *r,
		const struct wire_message *m)
{
	int rc = 0;

	if (m->verdict == WIRE_REPLACE || (m->verdict == WIRE_DROP && r->kind == REQUEST_PAYLOAD))
		rc = p->host->replace(f, 0, r->asked, m->data.bytes, m->data.len);
	for (size_t i = 0; !rc && i < m->n_edits; i++)
		rc = p->host->replace(f, m->edits[i].off, m->edits[i].len, m->edits[i].text.bytes,
				      m->edits[i].text.len);
	if (rc)
		complain_of(p, f, "what it puts in place of payload has no room");
	return rc ? WEIR_ERROR : 0;
}

/** take_answer - the one to what @r asked, while the same bytes are shown again; its verdict */
static int64_t take_answer(struct processor *p, struct request *r, size_t len)
{
	struct weir_flow *f = r->flow->f;
	struct wire_message *m = r->answer;
	int64_t n;

	r->answer = NULL;
	if (len < r->asked || edit(p, f, r, m))
		n = WEIR_ERROR;
	else if (m->verdict == WIRE_BLOCK)
		n = WEIR_BLOCK;
	else if (r->kind == REQUEST_DATAGRAM)
		n = m->verdict == WIRE_DROP ? WEIR_DROP : WEIR_PASS;
	else if (m->verdict == WIRE_HOLD)
		n = 0;
	else
		n = (int64_t)(m->has_accept ? m->accept : r->asked);
	act(p, f, m);
	wire_free(m);
	return n;
}

/* --- callbacks
 * -------------------------------------------------------------------------------------- */

static struct processor_flow *flow_new(struct processor *p, struct weir_flow *f, uint64_t id)
{
	struct processor_flow *pf = calloc(1, sizeof(*pf));

	if (!pf)
		return NULL;
	*pf = (struct processor_flow){.p = p, .f = f, .id = id};
	pf->open = (struct request){.flow = pf, .kind = REQUEST_OPEN};
	for (int dir = WEIR_UP; dir <= WEIR_DOWN; dir++)
		pf->side[dir] = (struct request){.flow = pf, .dir = (enum weir_dir)dir};
	p->host->set_data(f, pf, free);
	return pf;
}

int processor_flow_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct processor *p = state;
	struct processor_flow *pf;

	if (p->state == LINK_DOWN)
		return WEIR_ERROR;
	pf = flow_new(p, f, info->id);
	if (!pf)
		return WEIR_ERROR;
	if (!(p->wants & PROCESSOR_OPEN))
		return WEIR_PASS;
	if (request_start(p, &pf->open))
		return WEIR_ERROR;
	say_flow_open(p, pf, pf->open.id);
	return sent(p, &pf->open);
}

/** shown - payload or a datagram: the part of both */
static int64_t shown(struct processor *p, struct request *r, const uint8_t *data, size_t len,
		     bool last)
{
	if (r->failed) {
		r->failed = false;
		return WEIR_ERROR;
	}
	if (r->answer)
		return take_answer(p, r, len);
	if (r->id || r->waits)
		return WEIR_PEND;
	return ask(p, r, data, len, last);
}

int64_t processor_payload(void *state, struct weir_flow *f, const struct weir_payload *d)
{
	struct processor *p = state;
	struct processor_flow *pf = p->host->data(f);
	struct request *r;
	bool last = d->flags & WEIR_LAST, answered;
	int64_t n;

	if (!pf)
		return WEIR_ERROR;
	r = &pf->side[d->dir];
	if (!(p->wants & PROCESSOR_PAYLOAD) || (!d->len && !r->id && !r->answer && !r->failed))
		return (int64_t)d->len;
	answered = r->answer != NULL;
	r->kind = REQUEST_PAYLOAD;
	n = shown(p, r, d->data, d->len, last);
	/* What has come since it was asked was not shown to it yet. */
	if (answered && n >= 0 && (size_t)n < d->len &&
	    (d->len > r->asked || (last && !r->asked_last)))
		p->host->resume(f, d->dir);
	return n;
}

int processor_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct processor *p = state;
	struct processor_flow *pf = p->host->data(f);

	if (!pf)
		return WEIR_ERROR;
	if (!(p->wants & PROCESSOR_DATAGRAM))
		return WEIR_PASS;
	pf->side[d->dir].kind = REQUEST_DATAGRAM;
	return (int)shown(p, &pf->side[d->dir], d->data, d->len, false);
}

void processor_half_close(void *state, struct weir_flow *f, enum weir_dir dir)
{
	struct processor *p = state;
	struct processor_flow *pf = p->host->data(f);

	if (!pf || p->state == LINK_DOWN || !(p->wants & PROCESSOR_HALF_CLOSE))
		return;
	make_known(p, pf);
	say_half_close(p, pf->id, dir);
	link_flush(p);
}

void processor_name_learned(void *state, struct weir_flow *f, const char *field, const char *value)
{
	struct processor *p = state;
	struct processor_flow *pf = p->host->data(f);

	if (!pf || p->state == LINK_DOWN || !(p->wants & PROCESSOR_NAME))
		return;
	make_known(p, pf);
	say_name(p, pf->id, field, value);
	link_flush(p);
}

void processor_flow_close(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct processor *p = state;
	struct processor_flow *pf = p->host->data(f);

	if (!pf)
		return;
	request_forget(p, &pf->open);
	request_forget(p, &pf->side[WEIR_UP]);
	request_forget(p, &pf->side[WEIR_DOWN]);
	if (p->state != LINK_DOWN && pf->told == p->connection)
		say_flow_close(p, pf->id, info);
	if (p->state != LINK_DOWN)
		link_flush(p);
}

void processor_report(void *state, char *line, size_t size)
{
	static const char *const states[] = {"starting", "connected", "down"};
	const struct processor *p = state;

	snprintf(line, size, "%s; %llu requests, %llu late answers, %llu errors, ended %llu times",
		 states[p->state], (unsigned long long)p->requests, (unsigned long long)p->late,
		 (unsigned long long)p->complaints.count, (unsigned long long)p->lost);
}
