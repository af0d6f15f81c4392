// A peer that uses etcd's own Go client: gopeer mutex|election|observe ENDPOINT NAME [ROUNDS].
//
// With ROUNDS it takes the lock (or leads) that often and each time adds one to the counter at NAME + ".counter" by a
// read and a write that only exclusion makes atomic. Without, it says "have KEY REVISION", waits for a line on standard
// input, and gives it back. "observe" prints each leader's value.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
)

const ttlSeconds = 3

type owned struct {
	key      string
	revision int64
	giveBack func() error
}

func take(session *concurrency.Session, kind, name string) owned {
	ctx := context.Background()
	if kind == "mutex" {
		mutex := concurrency.NewMutex(session, name)
		check(mutex.Lock(ctx))
		return owned{mutex.Key(), mutex.Header().Revision, func() error { return mutex.Unlock(ctx) }}
	}
	election := concurrency.NewElection(session, name)
	check(election.Campaign(ctx, "go"))
	return owned{election.Key(), election.Rev(), func() error { return election.Resign(ctx) }}
}

func count(client *clientv3.Client, key string) {
	ctx := context.Background()
	seen, err := client.Get(ctx, key)
	check(err)
	value := 0
	if len(seen.Kvs) > 0 {
		value, err = strconv.Atoi(string(seen.Kvs[0].Value))
		check(err)
	}
	_, err = client.Put(ctx, key, strconv.Itoa(value+1))
	check(err)
}

func observe(session *concurrency.Session, name string) {
	for answer := range concurrency.NewElection(session, name).Observe(context.Background()) {
		fmt.Printf("leader %s\n", answer.Kvs[0].Value)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	kind, endpoint, name := os.Args[1], os.Args[2], os.Args[3]
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	check(err)
	defer client.Close()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttlSeconds))
	check(err)
	defer session.Close()
	if kind == "observe" {
		observe(session, name)
		return
	}
	if len(os.Args) > 4 {
		rounds, err := strconv.Atoi(os.Args[4])
		check(err)
		for i := 0; i < rounds; i++ {
			mine := take(session, kind, name)
			count(client, name+".counter")
			check(mine.giveBack())
		}
		fmt.Println("done")
		return
	}
	mine := take(session, kind, name)
	fmt.Printf("have %s %d\n", mine.key, mine.revision)
	bufio.NewReader(os.Stdin).ReadString('\n')
	check(mine.giveBack())
	fmt.Println("done")
}
