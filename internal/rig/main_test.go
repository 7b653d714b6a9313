package rig_test

import (
	"bufio"
	"fmt"
	"os"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("echo", func() {
		fmt.Println(os.Getenv("GREETING"))
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			fmt.Println("echo", in.Text())
		}
		fmt.Fprintln(os.Stderr, "end of input")
		os.Exit(3)
	})
	rig.RegisterRole("flood", func() {
		for i := 0; ; i++ {
			fmt.Println(i)
		}
	})
	rig.RegisterRole("nested", nested)
	rig.RegisterRole("ask", ask)
	rig.Main(m)
}
