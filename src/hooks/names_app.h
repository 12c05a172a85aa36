/* SPDX-License-Identifier: MIT */
/* names_app: which protocol a few first bytes belong to, where they say it beyond doubt. Pure. */
#ifndef WEIR_HOOKS_NAMES_APP_H
#define WEIR_HOOKS_NAMES_APP_H

#include "names_buf.h"

#define NAMES_APP_START 24 /* bytes of a stream that tell; HTTP/2's preface has as many */

/**
 * names_app_stream - the client's first bytes: NAMES_FOUND: *@app; NAMES_MORE: up to
 * NAMES_APP_START bytes are needed; NAMES_NOT: none of these, perhaps HTTP/1
 */
enum names_step names_app_stream(const uint8_t *data, size_t len, const char **app);
/** names_app_banner - the server's first bytes, when it speaks first; NULL: unknown */
const char *names_app_banner(const uint8_t *data, size_t len);
/** names_app_datagram - the client's first datagram (QUIC aside); NULL: unknown */
const char *names_app_datagram(const uint8_t *data, size_t len);

#endif
