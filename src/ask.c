/* SPDX-License-Identifier: MIT */
#include "ask.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "control.h"
#include "decision.h"

#define STATUS_USAGE 2
#define ANSWER_MS    10000
#define RELOAD_MS    120000 /* a million names take seconds, a busy machine longer */
#define FAILED	     "error: "

/** struct words - the arguments of a command, without --instance */
struct words {
	int n;
	char **word; /* borrowed */
	pid_t instance;
};

/** pid_of - a process number and nothing else; 0 when @text is none */
static pid_t pid_of(const char *text)
{
	char *end;
	long pid = strtol(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/** take_value - "--NAME VALUE" or "--NAME=VALUE" at @argv[*i]; NULL: it is another word */
static const char *take_value(const char *name, int argc, char **argv, int *i)
{
	const size_t n = strlen(name);

	if (!argv[*i] || strncmp(argv[*i], name, n) != 0)
		return NULL;
	if (argv[*i][n] == '=')
		return argv[*i] + n + 1;
	if (argv[*i][n])
		return NULL;
	if (*i + 1 >= argc)
		die(STATUS_USAGE, "%s: a value is missing", name);
	return argv[++*i];
}

/** take_words - --instance may stand anywhere; what is left is moved together */
static struct words take_words(int argc, char **argv)
{
	struct words w = {.word = argv + 1};

	for (int i = 1; i < argc; i++) {
		const char *value = take_value("--instance", argc, argv, &i);

		if (!value) {
			w.word[w.n++] = argv[i];
			continue;
		}
		w.instance = pid_of(value);
		if (!w.instance)
			die(STATUS_USAGE, "--instance takes PID, the number of a process");
	}
	return w;
}

/** ask_text - the whole answer, malloc'd; ends the program where there is none */
static char *ask_text(pid_t instance, const char *request, int ms)
{
	char err[256], *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		die(1, "no memory");
	if (control_ask_long(instance, request, f, ms, err, sizeof(err)))
		die(1, "%s", err);
	fclose(f);
	return text;
}

/** ask_print - the answer to standard output, or its error to standard error */
static int ask_print(pid_t instance, const char *request, int ms)
{
	char *text = ask_text(instance, request, ms);
	const bool failed = !strncmp(text, FAILED, strlen(FAILED));

	if (failed) {
		text[strlen(text) - 1] = '\0'; /* the end of its last line */
		log_error("%s", text + strlen(FAILED));
	} else {
		fputs(text, stdout);
	}
	free(text);
	return failed;
}

/** request_of - @verb and the words, as one line */
static char *request_of(const char *verb, const struct words *w)
{
	char *line = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&line, &len);

	if (!f)
		die(1, "no memory");
	/* cppcheck-suppress nullPointerRedundantCheck ; die() does not return */
	fputs(verb, f);
	for (int i = 0; i < w->n; i++) {
		if (strchr(w->word[i], '\n'))
			die(STATUS_USAGE, "%s: an expression is one line", verb);
		fprintf(f, " %s", w->word[i]);
	}
	fclose(f);
	return line;
}

static int ask_words(const char *verb, const struct words *w, int ms)
{
	char *line = request_of(verb, w);
	int rc = ask_print(w->instance, line, ms);

	free(line);
	return rc;
}

int ask_flows(int argc, char **argv)
{
	struct words w = take_words(argc, argv);

	if (w.n && w.word[0][0] == '-')
		die(STATUS_USAGE, "flows takes --instance PID and an expression (weir-rules(5))");
	return ask_words("flows", &w, ANSWER_MS);
}

int ask_hooks(int argc, char **argv)
{
	struct words w = take_words(argc, argv);

	if (w.n)
		die(STATUS_USAGE,
		    "hooks takes nothing but --instance PID, the number of a process");
	return ask_words("hooks", &w, ANSWER_MS);
}

int ask_rules(int argc, char **argv)
{
	struct words w = take_words(argc, argv);

	if (w.n == 2 && !strcmp(w.word[0], "forget")) {
		w.word++;
		w.n--;
		return ask_words("forget", &w, ANSWER_MS);
	}
	if (w.n)
		die(STATUS_USAGE, "rules takes --instance PID, and: forget NUMBER");
	return ask_words("rules", &w, ANSWER_MS);
}

int ask_events(int argc, char **argv)
{
	struct words w = take_words(argc, argv);
	char err[256];

	if (w.n)
		die(STATUS_USAGE, "events takes nothing but --instance PID");
	if (control_ask_long(w.instance, "events", stdout, -1, err, sizeof(err)))
		die(1, "%s", err);
	return 0;
}

int ask_kill(int argc, char **argv)
{
	struct words w = take_words(argc, argv);

	if (!w.n || w.word[0][0] == '-')
		die(STATUS_USAGE, "kill takes the id of a flow, or an expression (weir-rules(5))");
	return ask_words("kill", &w, ANSWER_MS);
}

int ask_reload(int argc, char **argv)
{
	struct words w = take_words(argc, argv);

	if (w.n)
		die(STATUS_USAGE, "reload takes nothing but --instance PID");
	return ask_words("reload", &w, RELOAD_MS);
}

/* --- decide ------------------------------------------------------------------------------- */

/** parse_ttl - "30s", "10m", "2h", "1d" in ns; 0: it is no time */
static uint64_t parse_ttl(const char *text)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"", 1}};
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || n > 365ULL * 86400)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(end, units[i].unit))
			return n * units[i].seconds * NSEC_PER_SEC;
	return 0;
}

/** keep_rule - one line more at the end of a file of the caller's */
static int keep_rule(const char *path, const char *rule)
{
	FILE *f = fopen(path, "ae");

	if (!f || fputs(rule, f) == EOF || fclose(f) == EOF) {
		log_error("--keep %s: %s (the decision is made all the same)", path,
			  strerror(errno));
		return 1;
	}
	printf("kept in %s: %s", path, rule);
	return 0;
}

int ask_decide(int argc, char **argv)
{
	const char *what = "once", *ttl = NULL, *keep = NULL, *value;
	struct words all = take_words(argc, argv);
	char request[128], *answer;
	int n = 0, rc;

	for (int i = 0; i < all.n; i++) {
		if ((value = take_value("--for", all.n, all.word, &i)))
			what = value;
		else if ((value = take_value("--ttl", all.n, all.word, &i)))
			ttl = value;
		else if ((value = take_value("--keep", all.n, all.word, &i)))
			keep = value;
		else
			all.word[n++] = all.word[i];
	}
	if (n != 2 || !strtoull(all.word[0], NULL, 10) ||
	    (strcmp(all.word[1], "allow") != 0 && strcmp(all.word[1], "block") != 0))
		die(STATUS_USAGE, "decide takes the id of a flow, and allow or block");
	if (decision_for_find(what) == DECISION_FOR_MAX)
		die(STATUS_USAGE, "--for %s: allowed are once, process, program, user, host", what);
	if (ttl && !parse_ttl(ttl))
		die(STATUS_USAGE, "--ttl %s: a time like 30s, 10m, 2h or 1d", ttl);
	snprintf(request, sizeof(request), "decide %llu %s %s %llu %d",
		 strtoull(all.word[0], NULL, 10), all.word[1], what,
		 ttl ? (unsigned long long)parse_ttl(ttl) : 0ULL, keep != NULL);
	if (!keep)
		return ask_print(all.instance, request, ANSWER_MS);
	answer = ask_text(all.instance, request, ANSWER_MS);
	if (!strncmp(answer, FAILED, strlen(FAILED))) {
		answer[strcspn(answer, "\n")] = '\0';
		log_error("%s", answer + strlen(FAILED));
		rc = 1;
	} else {
		rc = keep_rule(keep, answer);
	}
	free(answer);
	return rc;
}
