// SPDX-License-Identifier: Apache-2.0
/*
 * Do vector registers survive what a kernel does behind a program's back?
 *
 * Keeps known values in ymm3 and, where the processor has AVX-512, zmm17, over
 * system calls, signal handlers that overwrite both, thread switches, forks and
 * page faults. A handler on an alternate stack of 8 KB must find them in its
 * frame, and what it writes there must be in them when it has returned.
 *
 * Prints "signals N ymm_lost N zmm_lost N frame_wrong N avx512 yes|no amx yes|no
 * state BYTES" (of all that the processor has switched on) and exits 1 if any
 * was lost or wrong.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { THREADS = 6, ROUNDS = 100, FORKS = 20, PAGES = 256, PAGE = 4096 };
enum { ALTERNATE_STACK = 8192, XSTATE_LEAF = 13, SSE_AT = 160, AVX = 2, HI16_ZMM = 7, AMX_TILES = 18 };

static volatile int signals, ymm_lost, zmm_lost, frame_wrong;
static int has_avx512;

static char *fresh_memory(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

/* Overwrites the registers, and takes page faults while it does. */
static void handler(int signal)
{
	char *p = fresh_memory(16 * PAGE);

	(void)signal;
	signals++;
	memset(p, 1, 16 * PAGE);
	munmap(p, 16 * PAGE);
	if (has_avx512)
		__asm__ volatile("vpxorq %%zmm17, %%zmm17, %%zmm17" ::: "memory");
	__asm__ volatile("vpxor %%ymm3, %%ymm3, %%ymm3" ::: "xmm3");
}

static void check(const unsigned long *wrote, const unsigned long *ymm, const unsigned long *zmm)
{
	if (memcmp(wrote, ymm, 32))
		ymm_lost++;
	if (has_avx512 && memcmp(wrote, zmm, 64))
		zmm_lost++;
}

static void pattern(unsigned long *to, unsigned long seed)
{
	for (int i = 0; i < 8; i++)
		to[i] = 0x9e3779b97f4a7c15UL * (8 * seed + i + 1);
}

/* One system call with both registers in use. */
static long call(long number, long a, long b, long c, unsigned long seed)
{
	unsigned long wrote[8], ymm[4], zmm[8];
	long result = number;

	pattern(wrote, seed);
	/* only now: a function call would not keep them */
	register long rdi __asm__("rdi") = a, rsi __asm__("rsi") = b, rdx __asm__("rdx") = c;

	if (has_avx512)
		__asm__ volatile("vmovdqu64 %[wrote], %%zmm17\n\t"
				 "vmovdqu %[wrote], %%ymm3\n\t"
				 "syscall\n\t"
				 "vmovdqu64 %%zmm17, %[zmm]\n\t"
				 "vmovdqu %%ymm3, %[ymm]"
				 : [zmm] "=m"(zmm), [ymm] "=m"(ymm), "+a"(result)
				 : [wrote] "m"(wrote), "r"(rdi), "r"(rsi), "r"(rdx)
				 : "rcx", "r11", "memory", "xmm3");
	else
		__asm__ volatile("vmovdqu %[wrote], %%ymm3\n\t"
				 "syscall\n\t"
				 "vmovdqu %%ymm3, %[ymm]"
				 : [ymm] "=m"(ymm), "+a"(result)
				 : [wrote] "m"(wrote), "r"(rdi), "r"(rsi), "r"(rdx)
				 : "rcx", "r11", "memory", "xmm3");
	check(wrote, ymm, zmm);
	return result;
}

static void *thread(void *number)
{
	long me = getpid(), tid = syscall(SYS_gettid), seed = (long)number * ROUNDS;
	struct timespec nap = { .tv_nsec = 1000 };

	for (long i = 0; i < ROUNDS; i++) {
		call(SYS_tgkill, me, tid, SIGUSR1, seed + i);
		call(SYS_sched_yield, 0, 0, 0, seed + i);
		call(SYS_nanosleep, (long)&nap, 0, 0, seed + i);
	}
	return NULL;
}

/* Each page is written for the first time by the register itself. */
static void faults(void)
{
	char *p = fresh_memory(PAGES * PAGE);
	unsigned long wrote[8], ymm[4], zmm[8];

	for (int i = 0; i < PAGES; i++) {
		pattern(wrote, i);
		if (has_avx512)
			__asm__ volatile("vmovdqu64 %[wrote], %%zmm17\n\t"
					 "vmovdqu %[wrote], %%ymm3\n\t"
					 "vmovdqu64 %%zmm17, (%[page])\n\t"
					 "vmovdqu64 %%zmm17, %[zmm]\n\t"
					 "vmovdqu %%ymm3, %[ymm]"
					 : [zmm] "=m"(zmm), [ymm] "=m"(ymm)
					 : [wrote] "m"(wrote), [page] "r"(p + i * PAGE)
					 : "memory", "xmm3");
		else
			__asm__ volatile("vmovdqu %[wrote], %%ymm3\n\t"
					 "vmovdqu %%ymm3, (%[page])\n\t"
					 "vmovdqu %%ymm3, %[ymm]"
					 : [ymm] "=m"(ymm)
					 : [wrote] "m"(wrote), [page] "r"(p + i * PAGE)
					 : "memory", "xmm3");
		check(wrote, ymm, zmm);
		if (memcmp(p + i * PAGE, wrote, 32))
			ymm_lost++;
	}
	munmap(p, PAGES * PAGE);
}

static void forks(void)
{
	for (int i = 0; i < FORKS; i++) {
		long child = call(SYS_fork, 0, 0, 0, i);
		int status = 0;

		if (!child)
			_exit(ymm_lost || zmm_lost);
		call(SYS_wait4, child, (long)&status, 0, i);
		if (status)
			ymm_lost++;
		call(SYS_kill, getpid(), SIGUSR1, 0, i);
		faults();
	}
}

/* Where a component lies in XSAVE's standard format. */
static unsigned offset_of(unsigned component)
{
	unsigned size, offset = 0, flags, unused;

	__cpuid_count(XSTATE_LEAF, component, size, offset, flags, unused);
	return offset;
}

/* ymm3's low half lies with SSE's state, its high half with AVX's; zmm17 is one piece. */
static void *in_frame(char *frame, int part)
{
	if (part < 2)
		return frame + (part ? offset_of(AVX) : SSE_AT) + 3 * 16;
	return frame + offset_of(HI16_ZMM) + 64;
}

/* Looks the registers up in its frame (seed 1), and replaces them there (seed 2). */
static void frame_handler(int signal, siginfo_t *info, void *context)
{
	char *frame = (char *)((ucontext_t *)context)->uc_mcontext.fpregs;
	unsigned long before[8], after[8];

	(void)signal;
	(void)info;
	pattern(before, 1);
	pattern(after, 2);
	for (int part = 0; part < (has_avx512 ? 3 : 2); part++) {
		int from = part == 1 ? 2 : 0, bytes = part == 2 ? 64 : 16;

		frame_wrong += memcmp(in_frame(frame, part), before + from, bytes) != 0;
		memcpy(in_frame(frame, part), after + from, bytes);
	}
}

static void frames(void)
{
	static char stack[ALTERNATE_STACK];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = frame_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	unsigned long wrote[8], wanted[8], ymm[4] = { 0 }, zmm[8] = { 0 };
	long result = SYS_kill, me = getpid();

	if (sigaltstack(&alternate, NULL) || sigaction(SIGUSR2, &action, NULL))
		abort();
	pattern(wanted, 2);
	pattern(wrote, 1);
	/* only now, as above */
	register long rdi __asm__("rdi") = me, rsi __asm__("rsi") = SIGUSR2;

	if (has_avx512)
		__asm__ volatile("vmovdqu64 %[wrote], %%zmm17" : : [wrote] "m"(wrote) : "memory");
	__asm__ volatile("vmovdqu %[wrote], %%ymm3\n\t"
			 "syscall\n\t"
			 "vmovdqu %%ymm3, %[ymm]"
			 : [ymm] "=m"(ymm), "+a"(result)
			 : [wrote] "m"(wrote), "r"(rdi), "r"(rsi)
			 : "rcx", "r11", "memory", "xmm3");
	if (has_avx512)
		__asm__ volatile("vmovdqu64 %%zmm17, %[zmm]" : [zmm] "=m"(zmm) : : "memory");
	frame_wrong += memcmp(wanted, ymm, sizeof(ymm)) != 0;
	frame_wrong += has_avx512 && memcmp(wanted, zmm, sizeof(zmm));
}

static unsigned state_bytes(void)
{
	unsigned enabled, unused;

	__cpuid_count(XSTATE_LEAF, 0, unused, enabled, unused, unused);
	return enabled;
}

static int has_amx(void)
{
	unsigned low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low >> AMX_TILES & 1;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler };
	pthread_t threads[THREADS];

	has_avx512 = __builtin_cpu_supports("avx512f");
	sigaction(SIGUSR1, &action, NULL);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, thread, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	forks();
	frames();
	printf("signals %d ymm_lost %d zmm_lost %d frame_wrong %d avx512 %s amx %s state %u\n",
	       signals, ymm_lost, zmm_lost, frame_wrong, has_avx512 ? "yes" : "no",
	       has_amx() ? "yes" : "no", state_bytes());
	return ymm_lost || zmm_lost || frame_wrong;
}
