/* SPDX-License-Identifier: MIT */
/* names_event: what the hook `names` writes to the log, as JSON in Suricata's EVE names. Pure. */
#ifndef WEIR_HOOKS_NAMES_EVENT_H
#define WEIR_HOOKS_NAMES_EVENT_H

#include "names_http.h"
#include "names_tls.h"

#define NAMES_EVENT_SIZE 4000 /* the host takes 4 KiB, with the type */
#define NAMES_URL_MAX	 512

/**
 * struct names_exchange - a request and its answer
 * @url: the target as sent, cut at NAMES_URL_MAX bytes
 * @status: 0: there was no answer
 * @length: of the answer's body, as far as it came
 */
struct names_exchange {
	char method[NAMES_HTTP_METHOD_MAX + 1];
	char host[NAMES_HTTP_HOST_MAX + 1];
	uint8_t minor;
	uint16_t status;
	uint64_t length;
	size_t url_len;
	uint8_t url[NAMES_URL_MAX];
};

/** names_event_http, _tls - an object in @out (NAMES_EVENT_SIZE bytes), terminated */
void names_event_http(const struct names_exchange *x, char *out);
void names_event_tls(const struct names_hello *h, const char *ja3, const char *ja4, char *out);

#endif
