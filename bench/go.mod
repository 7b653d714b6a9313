module github.com/redstart-go/redstart/bench

go 1.26

replace github.com/redstart-go/redstart => ../
