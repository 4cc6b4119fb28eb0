// Watches a stream as many clients at once at next to no cost of its own: `drain PORT COUNT FILE` connects COUNT times to
// 127.0.0.1, sends the request in FILE on each and reads what comes, unseen. Ends by SIGTERM; then it prints the bytes that
// each connection got.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 256

static volatile sig_atomic_t stopped;

static void stop(int number) { (void)number, stopped = 1; }

int main(int count, char **words)
{
	static char request[4096], unseen[1 << 20];
	static struct pollfd clients[MOST];
	static unsigned long long got[MOST];
	FILE *file = count == 4 ? fopen(words[3], "rb") : NULL;
	int many = file ? atoi(words[2]) : 0;
	if (many < 1 || many > MOST)
		return fprintf(stderr, "drain PORT COUNT FILE\n"), 2;
	size_t len = fread(request, 1, sizeof request, file);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sigaction action = {.sa_handler = stop};
	sigaction(SIGTERM, &action, NULL);
	for (int i = 0; i < many; i++) {
		clients[i] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN};
		if (connect(clients[i].fd, (struct sockaddr *)&address, sizeof address) || write(clients[i].fd, request, len) != (ssize_t)len)
			return perror(words[1]), 1;
	}
	while (!stopped && poll(clients, many, -1) >= 0)
		for (int i = 0; i < many; i++) {
			ssize_t read = clients[i].revents ? recv(clients[i].fd, unseen, sizeof unseen, MSG_DONTWAIT) : -1;
			if (read > 0)
				got[i] += read;
			else if (read == 0)
				clients[i].fd = -1; // poll takes no notice of it any more
		}
	for (int i = 0; i < many; i++)
		printf("%llu\n", got[i]);
	return 0;
}
