module vitess.io/vitess

go 1.15
