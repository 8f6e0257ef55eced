module snowflake-server

go 1.15
