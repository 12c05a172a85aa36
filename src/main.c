/* SPDX-License-Identifier: MIT */
/* main: the table of subcommands. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/wait.h>

#include "ask.h"
#include "check.h"
#include "config.h"
#include "control.h"
#include "demo.h"
#include "doctor.h"
#include "hook.h"
#include "down.h"
#include "isolate.h"
#include "select_names.h"
#include "supervisor.h"
#include "up.h"
#include "workerhooks.h"

#include "base/log.h"
#include "base/util.h"

#define STATUS_USAGE 2
#define RUNTIME_DIR  "/run/weir" /* of `weir up`, unless it was told otherwise */

/** check_hooks - in a process of its own, without capabilities: its exit status */
static int check_hooks(const struct config *cfg)
{
	const struct hook_env env = {.check = true, .scopes = &workerhooks_scopes};
	struct hook_chain *c = isolate_drop_capabilities() ? NULL : hook_chain_new(&env);
	char err[512];

	for (unsigned i = 0; c && i < cfg->n_hooks; i++) {
		int r = hook_chain_add(c, cfg->hooks[i], err, sizeof(err));

		if (r) {
			log_error("--hook %s: %s", cfg->hooks[i], *err ? err : strerror(-r));
			return STATUS_USAGE;
		}
	}
	return !c ? 1 : workerhooks_allow(c) ? STATUS_USAGE : 0;
}

/**
 * hooks_ok - a hook that there is not, or that is not content, is a wrong option: before anything
 * is set up
 *
 * The code of a plugin must not run in a process that stays privileged.
 */
static bool hooks_ok(const struct config *cfg)
{
	int status;
	pid_t pid;

	if (!cfg->n_hooks)
		return true;
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(check_hooks(cfg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		log_error("--hook can't be checked: %s", strerror(errno));
		return false;
	}
	if (WIFSIGNALED(status))
		log_error("--hook: one ended with signal %d (%s) when it was loaded",
			  WTERMSIG(status), strsignal(WTERMSIG(status)));
	return !status;
}

static int cmd_run(int argc, char **argv)
{
	struct config cfg;
	struct demo demo = {0};
	char err[256] = "";
	int r;

	config_default(&cfg);
	r = config_parse_run(&cfg, argc, argv, err, sizeof(err));
	if (r > 0) {
		config_usage_run(STDOUT_FILENO);
		return 0;
	}
	if (r) {
		log_error("%s", err);
		return STATUS_USAGE;
	}
	if (!hooks_ok(&cfg))
		return STATUS_USAGE;
	log_level = cfg.quiet ? LOG_WARN : cfg.verbose ? LOG_DEBUG : LOG_NOTE;
	if (!cfg.command) {
		r = demo_start(&demo, &cfg);
		if (r)
			die(1, "the demo's web server can't start: %s", strerror(-r));
	}
	r = supervisor_run(&cfg);
	demo_stop(&demo);
	return r;
}

static int cmd_doctor(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		die(STATUS_USAGE, "doctor takes no arguments");
	return doctor_run();
}

/** runtime_dir - `--runtime-dir DIR` is all that @argv may have; NULL: something else */
static const char *runtime_dir(int argc, char **argv)
{
	static const char option[] = "--runtime-dir";
	const size_t len = strlen(option);

	if (argc == 1)
		return RUNTIME_DIR;
	if (argc == 3 && !strcmp(argv[1], option))
		return argv[2];
	if (argc == 2 && !strncmp(argv[1], option, len) && argv[1][len] == '=')
		return argv[1] + len + 1;
	return NULL;
}

/** cmd_down - end `weir up`, or undo what one that was killed has left */
static int cmd_down(int argc, char **argv)
{
	const bool after_crash = argc > 1 && !strcmp(argv[1], "--after-crash");
	const char *dir = runtime_dir(argc - after_crash, argv + after_crash);

	if (dir && *dir == '/')
		return down_run(dir, after_crash);
	die(STATUS_USAGE,
	    "down takes --after-crash first, if at all, and --runtime-dir DIR, a path that "
	    "starts with /");
}

/** cmd_status - what `weir up` does */
static int cmd_status(int argc, char **argv)
{
	const char *dir = runtime_dir(argc, argv);
	char path[CONTROL_PATH_MAX], err[256];

	if (!dir || snprintf(path, sizeof(path), "%s/" CONTROL_SHARED, dir) >= (int)sizeof(path))
		die(STATUS_USAGE, "status takes nothing but --runtime-dir DIR");
	if (control_ask_at(path, "status", stdout, err, sizeof(err)))
		die(1, "%s", err);
	return 0;
}

struct words {
	int argc;
	char **argv;
};

static int parse_up(void *ctx, struct up_config **out, char *err, size_t errsize)
{
	const struct up_env env = {.names = select_names_host(), .read_file = read_text};
	const struct words *w = ctx;
	int r;

	*out = malloc(sizeof(**out));
	if (!*out) {
		snprintf(err, errsize, "no memory");
		return -ENOMEM;
	}
	config_default_up(*out);
	r = config_parse_up(*out, &env, w->argc, w->argv, err, errsize);
	if (r) {
		config_free_up(*out);
		free(*out);
		*out = NULL;
	}
	return r;
}

static int cmd_up(int argc, char **argv)
{
	struct words words = {argc, argv};
	struct up_config *cfg;
	char err[512] = "";
	int r = parse_up(&words, &cfg, err, sizeof(err));

	if (r > 0) {
		config_usage_up(STDOUT_FILENO);
		return 0;
	}
	if (r) {
		log_error("%s", err);
		return STATUS_USAGE;
	}
	log_level = cfg->base.verbose ? LOG_DEBUG : LOG_NOTE;
	r = hooks_ok(&cfg->base) ? up_run(cfg, parse_up, &words) : STATUS_USAGE;
	config_free_up(cfg);
	free(cfg);
	return r;
}

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("weir " WEIR_VERSION);
	return 0;
}

static int cmd_help(int argc, char **argv);

static const struct command {
	const char *name, *args, *help; /* no help: not for people */
	int (*fn)(int argc, char **argv);
} commands[] = {
	{"run", "[OPTIONS] [--] [COMMAND [ARG...]]",
	 "run COMMAND in a private network namespace and watch what it does;\n"
	 "                without COMMAND a demo that needs no network",
	 cmd_run},
	{"up", "[OPTIONS]",
	 "watch the chosen users of this host (root); --dry-run shows what that changes", cmd_up},
	{"status", "[--runtime-dir DIR]", "what the running `weir up` does", cmd_status},
	{"down", "[--after-crash] [--runtime-dir DIR]",
	 "end `weir up`, and undo all that it, or one that was killed, has changed", cmd_down},
	{"flows", "[--instance PID] [EXPR]",
	 "print the live flows of a running weir, or those that EXPR means, one JSON object a line",
	 ask_flows},
	{"kill", "[--instance PID] ID|EXPR", "end flows of a running weir", ask_kill},
	{"rules", "[--instance PID] [forget N]",
	 "print the rules in force, with hits and bytes, and the decisions that are remembered",
	 ask_rules},
	{"reload", "[--instance PID]", "let a running weir read its rules again", ask_reload},
	{"decide", "[--for WHAT] [--ttl TIME] [--keep FILE] [--instance PID] ID allow|block",
	 "answer for a flow that is held (rule `ask`)", ask_decide},
	{"events", "[--instance PID]",
	 "print what happens to flows by rules, one JSON object a line, until interrupted",
	 ask_events},
	{"hooks", "[--instance PID]",
	 "print what the hooks of a running weir were called for, and how long that took",
	 ask_hooks},
	{"check", "[--flow 'FIELD=VALUE...'] FILE",
	 "explain the rules of FILE, or which of them decides about a flow", check_run},
	{"doctor", "", "say what this machine allows, and what to change", cmd_doctor},
	{"help", "[run|up]", "this text, or the options of `weir run` or `weir up`", cmd_help},
	{"version", "", "print the version", cmd_version},
	{"demo-client", "", NULL, demo_client},
};

static void usage(FILE *f)
{
	fputs("weir sends a program's network traffic through a TCP/IP stack of its own, and\n"
	      "shows who talked to whom.\n\n",
	      f);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].help)
			fprintf(f, "  weir %s %s\n                %s\n", commands[i].name,
				commands[i].args, commands[i].help);
	}
	fputs("\nExit status of `weir run`: COMMAND's; 128+N when signal N ended it; 126 when weir can't\n"
	      "set up or COMMAND can't be started, 127 when there is no such COMMAND; 2 for wrong usage.\n",
	      f);
}

static int cmd_help(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "run"))
		config_usage_run(STDOUT_FILENO);
	else if (argc > 1 && !strcmp(argv[1], "up"))
		config_usage_up(STDOUT_FILENO);
	else
		usage(stdout);
	return 0;
}

/**
 * fill_std - no descriptor of ours may get the number of a closed standard stream
 *
 * Close-on-exec: COMMAND finds it closed as we did.
 */
static void fill_std(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			open("/dev/null", O_RDWR | O_CLOEXEC);
	}
}

static const char *plain_name(const char *arg)
{
	if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
		return "help";
	if (!strcmp(arg, "--version") || !strcmp(arg, "-V"))
		return "version";
	return arg;
}

int main(int argc, char **argv)
{
	fill_std();
	if (argc < 2) {
		usage(stderr);
		return STATUS_USAGE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i].name, plain_name(argv[1])))
			return commands[i].fn(argc - 1, argv + 1);
	}
	die(STATUS_USAGE, "%s: no such command (see weir --help)", argv[1]);
}
