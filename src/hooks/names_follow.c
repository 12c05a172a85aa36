/* SPDX-License-Identifier: MIT */
#include "names_follow.h"

/**
 * struct names_follow - @queue: exchanges under way, the oldest at @head, owned
 * @next: of a request whose head is not complete
 */
struct names_follow {
	struct names_http request, answer;
	struct names_exchange *queue[NAMES_UNDER_WAY_MAX], *next;
	unsigned head, n;
};

void names_exchange_line(struct names_exchange *x, const struct names_http *h)
{
	size_t n = h->target.len < NAMES_URL_MAX ? h->target.len : NAMES_URL_MAX;

	memcpy(x->method, h->method, sizeof(x->method));
	x->minor = h->minor;
	x->url_len = n;
	memcpy(x->url, h->target.at, n);
}

static struct names_exchange *oldest(const struct names_follow *w)
{
	return w->n ? w->queue[w->head] : NULL;
}

/* push - @w->next has its head */
static bool push(struct names_follow *w)
{
	if (!w->next || w->n == NAMES_UNDER_WAY_MAX)
		return false;
	w->queue[(w->head + w->n++) % NAMES_UNDER_WAY_MAX] = w->next;
	w->next = NULL;
	return true;
}

/* pop - the oldest is complete */
static void pop(struct names_follow *w, names_exchange_fn *fn, void *ctx)
{
	struct names_exchange *x = oldest(w);

	x->length = w->answer.length;
	fn(ctx, x);
	free(x);
	w->head = (w->head + 1) % NAMES_UNDER_WAY_MAX;
	w->n--;
}

struct names_follow *names_follow_new(struct names_http *first, const struct names_exchange *x)
{
	struct names_follow *w = calloc(1, sizeof(*w));
	struct names_exchange *copy = w ? malloc(sizeof(*copy)) : NULL;

	if (!copy) {
		free(w);
		return NULL;
	}
	*copy = *x;
	w->next = copy;
	push(w);
	w->request = *first;
	*first = (struct names_http){0};
	w->answer.response = true;
	return w;
}

/* request_event - false: not to be followed any further */
static bool request_event(struct names_follow *w, enum names_http_event event)
{
	switch (event) {
	case NAMES_HTTP_LINE:
		if (!w->next)
			w->next = calloc(1, sizeof(*w->next));
		if (w->next)
			names_exchange_line(w->next, &w->request);
		return w->next;
	case NAMES_HTTP_HEAD:
		if (w->next)
			memcpy(w->next->host, w->request.host, sizeof(w->next->host));
		return push(w);
	default:
		return event != NAMES_HTTP_BAD;
	}
}

static bool tunnel(const struct names_exchange *x)
{
	return x->status == 101 || (!strcmp(x->method, "CONNECT") && x->status / 100 == 2);
}

static bool answer_event(struct names_follow *w, enum names_http_event event, names_exchange_fn *fn,
			 void *ctx)
{
	struct names_exchange *x = oldest(w);

	if (event == NAMES_HTTP_BAD || (event == NAMES_HTTP_LINE && !x))
		return false; /* also an answer that nobody has asked for */
	if (event == NAMES_HTTP_HEAD) {
		x->status = w->answer.status;
		if (!strcmp(x->method, "HEAD"))
			names_http_no_body(&w->answer);
		return !tunnel(x);
	}
	if (event == NAMES_HTTP_END && x->status >= 200)
		pop(w, fn, ctx); /* else the answer proper is still to come */
	return true;
}

bool names_follow_feed(struct names_follow *w, bool answer, const uint8_t *data, size_t len,
		       names_exchange_fn *fn, void *ctx)
{
	struct names_http *h = answer ? &w->answer : &w->request;
	enum names_http_event event;
	size_t used;

	do {
		event = names_http_feed(h, data, len, &used);
		data += used;
		len -= used;
		if (answer ? !answer_event(w, event, fn, ctx) : !request_event(w, event))
			return false;
	} while (event != NAMES_HTTP_MORE);
	return true;
}

void names_follow_end(struct names_follow *w, names_exchange_fn *fn, void *ctx)
{
	while (w->n) {
		pop(w, fn, ctx);
		w->answer.length = 0; /* that was of the oldest */
	}
	free(w->next);
	names_http_free(&w->request);
	names_http_free(&w->answer);
	free(w);
}
