"""Write the brief of a censor: one page for people who advise others.

It says what works, what fails and what is not known under a censor, for each line on which calls
were recorded. It gives orders to nobody: each tool stands with its counts, what it needs on which
end, its risks, and the age of what is known. The parts:

    evidence  the sources behind a censor, with their links and their age
    findings  how each transport did on a line, from the records of calls
    page      the page itself
"""
