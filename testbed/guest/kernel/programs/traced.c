// SPDX-License-Identifier: Apache-2.0
/*
 * Does a process see all registers of one that it traces, and can it change them?
 *
 * A child counts in rbx, from 1000, at each of 50 system calls. Its parent looks there at
 * each stop for a call, and at the last writes another number to it, which the child
 * must find and exit with; some of its way there the parent has it take single steps.
 *
 * Prints "stops N counted N steps N exit N": stops for a call's begin or end, those of
 * them where rbx was as it had to be, single steps, and the child's exit status.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 50, FIRST = 1000, STEPS = 100, WRITTEN = 77, SYSCALL_STOP = SIGTRAP | 0x80 };

static void child(void)
{
	long found = 0;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (long i = 0; i < CALLS; i++) {
		long result = SYS_getppid;

		found = FIRST + i;
		__asm__ volatile("syscall" : "+a"(result), "+b"(found) : : "rcx", "r11", "memory");
	}
	for (volatile int i = 0; i < STEPS; i++)
		;
	_exit((int)found);
}

int main(void)
{
	int status, stops = 0, counted = 0, steps = 0;
	struct user_regs_struct regs;
	pid_t pid = fork();

	if (pid == 0)
		child();
	waitpid(pid, &status, 0);
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD))
		return 1;
	while (stops < 2 * CALLS) {
		ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SYSCALL_STOP)
			return 1;
		if (ptrace(PTRACE_GETREGS, pid, NULL, &regs))
			return 1;
		if (regs.orig_rax != SYS_getppid)
			continue; /* how raise() ends */
		counted += regs.rbx == (unsigned long)(FIRST + stops / 2);
		stops++;
	}
	regs.rbx = WRITTEN;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
	for (; steps < STEPS; steps++) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
			return 1;
	}
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	waitpid(pid, &status, 0);
	printf("stops %d counted %d steps %d exit %d\n", stops, counted, steps,
	       WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}
