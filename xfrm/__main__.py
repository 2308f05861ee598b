"""`python -m xfrm`."""

from xfrm.tool.main import main

if __name__ == "__main__":
    main()
