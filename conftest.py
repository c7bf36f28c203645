# drtests is found by its entry point and collects targets/ by itself; fixtures of your own recovery tests go here.
