package client_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"kimberlite/client"
)

// A program that keeps its rows on a server. The token is a credential's
// secret, as `kimberlite credential create` prints it.
func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{
		URL: "https://127.0.0.1:7443", Token: os.Getenv("KIMBERLITE_TOKEN"), CAFile: "data/dev/ca.pem",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	hospital := c.Tenant(client.MustTenantID(1))
	// With a key the write takes effect once, however often it is tried.
	once := client.WithIdempotencyKey(ctx, "admission-4711")
	if _, err := hospital.Exec(once, "INSERT INTO patients VALUES (?, ?)", 123, "Alice Smith"); err != nil {
		log.Fatal(client.KindOf(err), err)
	}
	rows, err := hospital.Query(ctx, "SELECT id, name FROM patients")
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			log.Fatal(err)
		}
		fmt.Println(id, name)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
}
