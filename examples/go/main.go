// A request with the headers that are given goes through the Gate, and what is answered is printed.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
)

//go:generate buf generate

func main() {
	address := flag.String("address", "127.0.0.1:8080", "where Latchkey is")
	tlsCA := flag.String("tls-ca", "", "PEM file of the authority of Latchkey's certificate; without it: plaintext")
	key := flag.String("caller-key", "", "this service's own internal key; or LATCHKEY_CALLER_KEY in the environment")
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	flag.Func("header", "'Name: value' of the request, repeatable", func(text string) error {
		name, value, found := strings.Cut(text, ":")
		if !found {
			return errors.New("not 'Name: value'")
		}
		request.Header.Add(name, strings.TrimSpace(value))
		return nil
	})
	var permissions []string
	flag.Func("require", "a permission that the request needs, repeatable", func(name string) error {
		permissions = append(permissions, name)
		return nil
	})
	flag.Parse()

	transport := insecure.NewCredentials()
	if *tlsCA != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(*tlsCA, ""); err != nil {
			log.Fatal(err)
		}
	}
	// One connection for the whole program: it is made when it is needed, and again when it breaks.
	conn, err := grpc.NewClient(*address, grpc.WithTransportCredentials(transport))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	gate := &Gate{Conn: conn, CallerKey: cmp.Or(*key, os.Getenv("LATCHKEY_CALLER_KEY"))}
	answer := httptest.NewRecorder()
	gate.Require(http.HandlerFunc(showCaller), permissions...).ServeHTTP(answer, request)
	fmt.Println(strings.TrimSpace(answer.Body.String()))
}

// What this service is for: to serve requests whose caller is known.
func showCaller(w http.ResponseWriter, r *http.Request) {
	caller, err := protojson.Marshal(CallerOf(r.Context()))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(caller)
}
