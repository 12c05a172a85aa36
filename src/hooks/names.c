/* SPDX-License-Identifier: MIT */
/*
 * names: what a flow is about, by its first bytes: TLS and QUIC server name, ALPN, JA3, JA4, HTTP/1
 * method, path and host, and which protocol it is. docs/weir-hook-names.7.scd
 *
 * It never holds a byte and never refuses a flow: it accepts all that it is shown, keeps a copy of
 * what is not complete, within a bound, and says what it has learnt. Who must wait for that
 * waits at the gate behind it. As soon as nothing more is to be learnt of a flow, it is done
 * with it, which is after the client's first payload nearly always.
 *
 * The client is who opened the flow, so in one that came in its bytes go down.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/hook.h"

#include "names_app.h"
#include "names_follow.h"
#include "names_ja.h"
#include "names_ndpi.h"
#include "names_quic.h"

#define ALPN_MAX    8	/* that are learnt: clients offer two or three */
#define ALPN_LEN    40	/* longer ones are nobody's, and would take the room of other facts */
#define PATH_LEARNT 511 /* bytes of it */

struct names {
	const struct weir_host *host;
	struct names_ja *ja;
	struct names_quic_lib *quic;
	struct names_ndpi *ndpi; /* NULL: not asked */
	bool http_events, tls_events, use_ndpi;
	uint64_t flows, tls, quics, http, others, none;
};

enum stage {
	AT_START, /* which protocol is it? */
	IN_TLS,
	IN_HTTP,
	IN_QUIC,
	FOLLOWING, /* its names are known; requests are logged */
	AT_END,
};

/**
 * struct names_flow - hangs on the flow, owned, until AT_END
 * @now, @now_dir: the payload that is being shown, borrowed
 */
struct names_flow {
	struct names *n;
	struct weir_flow *f;
	enum stage stage;
	enum weir_dir client;
	uint8_t start[NAMES_APP_START];
	uint8_t start_len;
	bool app_known;
	struct names_view now;
	enum weir_dir now_dir;
	struct names_tls tls;
	struct names_http http;
	struct names_quic quic;
	struct names_exchange *first; /* of http, where requests are logged */
	struct names_follow *follow;
};

/* --- what is learnt -----------------------------------------------------------------------------
 */

static void learn(struct names_flow *nf, const char *field, const char *value)
{
	/* without memory or room for it the field stays unknown, and is absent in the end */
	nf->n->host->learn(nf->f, field, value);
}

static void learn_app(struct names_flow *nf, const char *app)
{
	if (!nf->app_known)
		learn(nf, "app", app);
	nf->app_known = true;
}

static void release(struct names_flow *nf)
{
	names_tls_free(&nf->tls);
	names_http_free(&nf->http);
	names_quic_free(&nf->quic);
	free(nf->first);
	nf->first = NULL;
}

/* ask_ndpi - about the payload that made clear that it is none of the protocols known here */
static void ask_ndpi(struct names_flow *nf)
{
	const struct weir_info *info = nf->n->host->info(nf->f);
	bool up = nf->now_dir == WEIR_UP;
	struct names_ndpi_payload p = {.udp = info->proto == IPPROTO_UDP, .bytes = nf->now};
	char app[NAMES_NDPI_APP_MAX + 1];

	p.from_port = up ? info->app.port : info->net.port;
	p.to_port = up ? info->net.port : info->app.port;
	if (!names_ndpi_app(nf->n->ndpi, &p, app))
		return;
	learn_app(nf, app);
	nf->n->others++;
}

/* finish - nothing more will come of this flow */
static void finish(struct names_flow *nf)
{
	const struct weir_host *host = nf->n->host;

	if (nf->stage == AT_END)
		return;
	if (nf->stage != FOLLOWING) {
		if (nf->n->ndpi && !nf->app_known && nf->now.len)
			ask_ndpi(nf);
		nf->n->none += !nf->app_known;
		host->learn_done(nf->f);
	}
	nf->stage = AT_END;
	release(nf);
	host->done(nf->f);
}

static void log_tls(struct names_flow *nf, const struct names_hello *h, const char *ja3,
		    const char *ja4)
{
	char json[NAMES_EVENT_SIZE];

	names_event_tls(h, ja3, ja4, json);
	nf->n->host->event(nf->f, "tls", json);
}

/* learn_hello - short things first: what the host can't keep is the end of a long list */
static void learn_hello(struct names_flow *nf, struct names_view msg, char transport)
{
	char ja3[NAMES_JA3_SIZE] = "", ja4[NAMES_JA4_SIZE] = "", alpn[256];
	struct names_view rest;
	struct names_hello h;

	if (!names_hello_parse(msg.at, msg.len, &h))
		return;
	if (h.sni[0])
		learn(nf, "sni", h.sni);
	if (names_ja3(nf->n->ja, &h, ja3))
		learn(nf, "ja3", ja3);
	if (names_ja4(nf->n->ja, &h, transport, ja4))
		learn(nf, "ja4", ja4);
	rest = h.alpn;
	for (unsigned i = 0; i < ALPN_MAX && names_hello_alpn(&rest, alpn); i++)
		if (strlen(alpn) <= ALPN_LEN)
			learn(nf, "alpn", alpn);
	if (h.ech)
		nf->n->host->tag(nf->f, "ech");
	if (nf->n->tls_events)
		log_tls(nf, &h, ja3, ja4);
}

/* --- HTTP ------------------------------------------------------------------------------------- */

static void log_exchange(void *ctx, const struct names_exchange *x)
{
	struct names_flow *nf = ctx;
	char json[NAMES_EVENT_SIZE];

	names_event_http(x, json);
	nf->n->host->event(nf->f, "http", json);
}

static void unfollow(struct names_flow *nf)
{
	struct names_follow *w = nf->follow;

	nf->follow = NULL;
	if (w)
		names_follow_end(w, log_exchange, nf);
}

static void follow(struct names_flow *nf, bool answer, const uint8_t *data, size_t len)
{
	if (names_follow_feed(nf->follow, answer, data, len, log_exchange, nf))
		return;
	unfollow(nf);
	finish(nf);
}

static void learn_request(struct names_flow *nf)
{
	struct names_view path = names_http_path(nf->http.target);
	char text[PATH_LEARNT + 1];
	size_t i;

	learn_app(nf, "http");
	nf->n->http++;
	learn(nf, "http.method", nf->http.method);
	if (path.len > PATH_LEARNT)
		path.len = PATH_LEARNT;
	for (i = 0; i < path.len; i++) /* a text ends at NUL, which no path has */
		text[i] = (char)(path.at[i] ? path.at[i] : '?');
	text[i] = '\0';
	learn(nf, "http.path", text);
	if (nf->n->http_events)
		nf->first = calloc(1, sizeof(*nf->first));
	if (nf->first)
		names_exchange_line(nf->first, &nf->http);
}

/* learn_head - the rest of what the first request says; then it is followed, or enough */
static void learn_head(struct names_flow *nf, const uint8_t *data, size_t len)
{
	if (nf->http.host[0])
		learn(nf, "http.host", nf->http.host);
	if (nf->first) {
		memcpy(nf->first->host, nf->http.host, sizeof(nf->first->host));
		nf->follow = names_follow_new(&nf->http, nf->first);
	}
	if (!nf->follow) {
		finish(nf);
		return;
	}
	release(nf);
	nf->stage = FOLLOWING;
	nf->n->host->learn_done(nf->f);
	follow(nf, false, data, len);
}

static void feed_http(struct names_flow *nf, const uint8_t *data, size_t len)
{
	enum names_http_event event;
	size_t used;

	do {
		event = names_http_feed(&nf->http, data, len, &used);
		data += used;
		len -= used;
		if (event == NAMES_HTTP_LINE)
			learn_request(nf);
		else if (event == NAMES_HTTP_HEAD)
			learn_head(nf, data, len);
		else if (event == NAMES_HTTP_BAD)
			finish(nf);
	} while (event == NAMES_HTTP_LINE);
}

/* --- streams ------------------------------------------------------------------------------------
 */

static void feed_tls(struct names_flow *nf, const uint8_t *data, size_t len)
{
	struct names_view msg;
	enum names_step step = names_tls_feed(&nf->tls, data, len, &msg);

	if (step == NAMES_MORE)
		return;
	if (step == NAMES_FOUND)
		learn_hello(nf, msg, 't');
	finish(nf);
}

static void feed(struct names_flow *nf, const uint8_t *data, size_t len)
{
	if (nf->stage == IN_TLS)
		feed_tls(nf, data, len);
	else if (nf->stage == IN_HTTP)
		feed_http(nf, data, len);
	else if (nf->stage == FOLLOWING)
		follow(nf, false, data, len);
}

/* decide - by the first bytes, what the stream is; false: these are too few */
static bool decide(struct names_flow *nf, const uint8_t *data, size_t len)
{
	const char *app = NULL;

	switch (names_app_stream(data, len, &app)) {
	case NAMES_MORE:
		return false;
	case NAMES_NOT:
		nf->stage = IN_HTTP; /* if anything */
		return true;
	case NAMES_FOUND:
		break;
	}
	learn_app(nf, app);
	if (!strcmp(app, "tls")) {
		nf->n->tls++;
		nf->stage = IN_TLS;
	} else {
		nf->n->others++;
		finish(nf);
	}
	return true;
}

/* begin - the first bytes, which are kept as long as they don't tell */
static void begin(struct names_flow *nf, const uint8_t *data, size_t len)
{
	size_t n = sizeof(nf->start) - nf->start_len;

	if (!nf->start_len && decide(nf, data, len)) {
		feed(nf, data, len);
		return;
	}
	n = len < n ? len : n;
	memcpy(nf->start + nf->start_len, data, n);
	nf->start_len = (uint8_t)(nf->start_len + n);
	if (!decide(nf, nf->start, nf->start_len))
		return;
	feed(nf, nf->start, nf->start_len);
	feed(nf, data + n, len - n);
}

/* server_first - before the client has said who it wants: it will not (or not to be relied on) */
static void server_first(struct names_flow *nf, const uint8_t *data, size_t len)
{
	const char *app = nf->stage == AT_START ? names_app_banner(data, len) : NULL;

	if (app) {
		learn_app(nf, app);
		nf->n->others++;
	}
	finish(nf);
}

static void payload(struct names_flow *nf, const struct weir_payload *p)
{
	if (p->dir != nf->client) {
		if (nf->stage == FOLLOWING)
			follow(nf, true, p->data, p->len);
		else if (p->len)
			server_first(nf, p->data, p->len);
	} else if (p->len) {
		if (nf->stage == AT_START)
			begin(nf, p->data, p->len);
		else
			feed(nf, p->data, p->len);
	}
	/* the rest will not come; who has said nothing at all waits for the server to speak */
	if (p->dir == nf->client && p->flags & WEIR_LAST && nf->stage != FOLLOWING &&
	    (nf->stage != AT_START || nf->start_len))
		finish(nf);
}

static void flow_free(void *data)
{
	struct names_flow *nf = data;

	release(nf);
	free(nf);
}

/* put_back - the end of a call: who is done with the flow keeps nothing of it */
static void put_back(struct names_flow *nf)
{
	nf->now = (struct names_view){0};
	if (nf->stage != AT_END)
		return;
	nf->n->host->set_data(nf->f, NULL, NULL);
	flow_free(nf);
}

static int64_t names_payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct names_flow *nf = ((struct names *)state)->host->data(f);

	if (nf) {
		nf->now = (struct names_view){p->data, p->len};
		nf->now_dir = p->dir;
		payload(nf, p);
		put_back(nf);
	}
	return (int64_t)p->len;
}

/* --- datagrams ----------------------------------------------------------------------------------
 */

static void feed_quic(struct names_flow *nf, const uint8_t *data, size_t len)
{
	struct names_view msg;
	enum names_step step = names_quic_feed(nf->n->quic, &nf->quic, data, len, &msg);

	if (nf->quic.genuine && !nf->app_known) {
		learn_app(nf, "quic");
		nf->n->quics++;
	}
	if (step == NAMES_MORE)
		return;
	if (step == NAMES_FOUND)
		learn_hello(nf, msg, 'q');
	finish(nf);
}

static void first_datagram(struct names_flow *nf, const uint8_t *data, size_t len)
{
	const char *app = NULL;

	switch (names_quic_start(data, len)) {
	case NAMES_QUIC_INITIAL:
		nf->stage = IN_QUIC;
		feed_quic(nf, data, len);
		return;
	case NAMES_QUIC_FOREIGN:
		app = "quic";
		break;
	case NAMES_QUIC_NO:
		app = names_app_datagram(data, len);
		break;
	}
	if (app) {
		learn_app(nf, app);
		nf->n->others++;
	}
	finish(nf);
}

static void datagram(struct names_flow *nf, const struct weir_datagram *d)
{
	if (d->dir != nf->client) {
		if (nf->stage == AT_START)
			finish(nf);
	} else if (nf->stage == AT_START) {
		first_datagram(nf, d->data, d->len);
	} else {
		feed_quic(nf, d->data, d->len);
	}
}

static int names_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct names_flow *nf = ((struct names *)state)->host->data(f);

	if (nf) {
		nf->now = (struct names_view){d->data, d->len};
		nf->now_dir = d->dir;
		datagram(nf, d);
		put_back(nf);
	}
	return WEIR_PASS;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static int names_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct names *n = state;
	struct names_flow *nf = NULL;

	if (info->proto == IPPROTO_TCP || info->proto == IPPROTO_UDP)
		nf = calloc(1, sizeof(*nf));
	if (!nf) {
		n->host->learn_done(f);
		n->host->done(f);
		return WEIR_PASS;
	}
	nf->n = n;
	nf->f = f;
	nf->client = info->inbound ? WEIR_DOWN : WEIR_UP;
	n->host->set_data(f, nf, flow_free);
	n->flows++;
	return WEIR_PASS;
}

static void names_close(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct names_flow *nf = ((struct names *)state)->host->data(f);

	(void)info;
	if (nf)
		unfollow(nf);
}

static void names_unload(void *state)
{
	struct names *n = state;

	names_ja_free(n->ja);
	names_quic_lib_free(n->quic);
	names_ndpi_free(n->ndpi);
	free(n);
}

/* names_load - all that libcrypto has to look up is looked up here: later it could open no file */
static void *names_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct names *n = calloc(1, sizeof(*n));

	(void)ref;
	if (!n) {
		*err = "out of memory";
		return NULL;
	}
	n->host = host;
	n->ja = names_ja_new();
	n->quic = names_quic_lib_new();
	if (n->ja && n->quic)
		return n;
	names_unload(n);
	*err = "libcrypto has no SHA-256, AES-128-GCM or HMAC";
	return NULL;
}

static int names_config(void *state, const char *key, const char *value, const char **err)
{
	struct names *n = state;
	bool *option = !strcmp(key, "http-events")  ? &n->http_events
		       : !strcmp(key, "tls-events") ? &n->tls_events
		       : !strcmp(key, "ndpi")	    ? &n->use_ndpi
						    : NULL;

	if (!option) {
		*err = "there is no such key; http-events, tls-events and ndpi are";
		return -1;
	}
	*option = !strcmp(value, "yes");
	if (*option || !strcmp(value, "no"))
		return 0;
	*err = "neither yes nor no";
	return -1;
}

static int names_ready(void *state, const char **err)
{
	struct names *n = state;

	if (n->use_ndpi)
		n->ndpi = names_ndpi_new(err);
	return n->use_ndpi && !n->ndpi ? -1 : 0;
}

static void names_report(void *state, char *line, size_t size)
{
	const struct names *n = state;

	snprintf(line, size,
		 "%llu flows: %llu tls, %llu quic, %llu http, %llu others, %llu unknown",
		 (unsigned long long)n->flows, (unsigned long long)n->tls,
		 (unsigned long long)n->quics, (unsigned long long)n->http,
		 (unsigned long long)n->others, (unsigned long long)n->none);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "names",
	.wants = WEIR_WANTS_PAYLOAD | WEIR_WANTS_DATAGRAMS,
	.help = "learns server names, ALPN, JA3, JA4, HTTP requests and protocols",
	.load = names_load,
	.config = names_config,
	.ready = names_ready,
	.unload = names_unload,
	.flow_open = names_open,
	.payload = names_payload,
	.datagram = names_datagram,
	.flow_close = names_close,
	.report = names_report,
};
WEIR_HOOK(hook)
